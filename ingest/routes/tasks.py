"""Submitting tasks and reading them back."""

from typing import Final

import msgspec
from fastapi import APIRouter, Request, Response

from ingest import openapi
from ingest.admission import moment
from ingest.body import read_body
from ingest.lookup import state_of
from ingest.parameters import listing_of, wait_of
from ingest.requests_log import TASK_ID
from ingest.runtime import Runtime
from schemas.codec import decode
from schemas.errors import BodyTooLargeError, InvalidTaskError, MalformedRequestError, TaskFailedError
from schemas.status import State, Status

MAX_BATCH: Final = 10_000
JSON: Final = "application/json"
_LINES: Final = frozenset({"application/x-ndjson", "application/ndjson", "application/jsonl", "application/jsonlines"})
_ARRAY: Final = msgspec.json.Decoder(list[msgspec.Raw])


def router(runtime: Runtime) -> APIRouter:
    """The routes under ``/api/tasks``."""
    routes = APIRouter(tags=["tasks"], default_response_class=Response)
    limit = runtime.settings.api.max_body_bytes
    max_wait = runtime.settings.api.max_wait

    @routes.post("/api/tasks", **openapi.SUBMIT)
    async def submit_task(request: Request) -> Response:
        """Accept a task: 202 once it is on every in-sync replica."""
        body = await read_body(request, limit)
        headers = request.headers
        at = moment(headers.get("traceparent"))
        key = headers.get("idempotency-key")
        if key is None:
            answer = await runtime.intake.submit(body, at)
        else:
            answer = await runtime.intake.submit_keyed(body, at, key)
        request.scope[TASK_ID] = answer.id
        return Response(
            answer.document, 202 if answer.created else 200, {"location": f"/api/tasks/{answer.id}"}, media_type=JSON
        )

    @routes.post("/api/tasks/batch", **openapi.SUBMIT_BATCH)
    async def submit_tasks(request: Request) -> Response:
        """Accept up to 10,000 tasks; each is accepted or refused by itself."""
        body = await read_body(request, limit)
        if request.headers.get("idempotency-key") is not None:
            raise MalformedRequestError(
                "an Idempotency-Key names one task; send tasks that need one by POST /api/tasks"
            )
        media_type = request.headers.get("content-type", JSON).partition(";")[0].strip().lower()
        bodies = _lines(body) if media_type in _LINES else _array(body)
        if len(bodies) > MAX_BATCH:
            raise BodyTooLargeError(
                f"a batch has at most {MAX_BATCH} tasks; this one has {len(bodies)}", limit=MAX_BATCH
            )
        answers = await runtime.intake.submit_many(bodies, moment(request.headers.get("traceparent")))
        refused = any(answer.startswith(b'{"error"') for answer in answers)
        return Response(b'{"tasks":[' + b",".join(answers) + b"]}", 207 if refused else 202, media_type=JSON)

    @routes.get("/api/tasks", **openapi.LIST)
    async def list_tasks(request: Request) -> Response:
        """A page of tasks, newest first."""
        page = await runtime.view.page(listing_of(request.query_params))
        cursor = msgspec.json.encode(page.cursor)
        return Response(
            b'{"tasks":[' + b",".join(page.documents) + b'],"next_cursor":' + cursor + b"}", media_type=JSON
        )

    @routes.get("/api/tasks/{id}", **openapi.GET_TASK)
    async def get_task(request: Request) -> Response:
        """The status document; with `wait` once its state is final."""
        return Response(await _document(request, runtime, max_wait), media_type=JSON)

    @routes.get("/api/tasks/{id}/result", **openapi.GET_RESULT)
    async def get_result(request: Request) -> Response:
        """The bare result of a task that succeeded."""
        document = await _document(request, runtime, max_wait)
        state = state_of(document)
        if not state.final:
            return Response(document, 202, {"location": f"/api/tasks/{request.path_params['id']}"}, media_type=JSON)
        status = decode(document, Status)
        if state is not State.SUCCEEDED:
            raise TaskFailedError(
                f"the task ended {state}" + (f": {status.error.message}" if status.error else ""),
                id=status.id,
                state=state,
                error=status.error,
                attempt=status.attempt,
            )
        return Response(bytes(status.result), media_type=JSON)

    return routes


async def _document(request: Request, runtime: Runtime, max_wait: float) -> bytes:
    task_id: str = request.path_params["id"]
    request.scope[TASK_ID] = task_id
    wait = wait_of(request.query_params, max_wait)
    return await (runtime.lookup.wait(task_id, wait) if wait else runtime.lookup.find(task_id))


def _lines(body: bytes) -> list[bytes]:
    return [line for line in body.split(b"\n") if line.strip()]


def _array(body: bytes) -> list[msgspec.Raw]:
    try:
        body.decode()
        return _ARRAY.decode(body)
    except msgspec.ValidationError as error:
        raise InvalidTaskError("the body is no array of tasks", violations=[{"at": "", "why": str(error)}]) from error
    except (UnicodeDecodeError, msgspec.DecodeError) as error:
        raise MalformedRequestError(f"the body is no JSON array in UTF-8: {error}") from error
    except RecursionError as error:
        raise MalformedRequestError("the body is nested too deeply") from error
