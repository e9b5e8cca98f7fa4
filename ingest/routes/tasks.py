"""Submitting tasks and reading them back."""

from typing import Final

import msgspec
from fastapi import APIRouter, Request, Response

from ingest import openapi
from ingest.body import read_body, said_length
from ingest.lean import HotRoutes, respond
from ingest.lookup import state_of
from ingest.openapi.due_changes import CHANGE_DUE
from ingest.parameters import generation_of, listing_of, wait_of
from ingest.requests_log import TASK_ID
from ingest.runtime import Runtime
from schemas.codec import decode
from schemas.control import Cancelled
from schemas.errors import TaskFailedError
from schemas.outcome import Outcome
from schemas.status import State, Status

JSON: Final = "application/json"
_UNDER_WAY: Final = frozenset({Cancelled.WHILE_RUNNING, Cancelled.REQUESTED})


def router(runtime: Runtime) -> APIRouter:
    """The routes under ``/api/tasks``."""
    routes = APIRouter(tags=["tasks"], default_response_class=Response)
    hot = HotRoutes(runtime)
    max_wait = runtime.settings.api.max_wait

    # `LeanRoutes` answers these three before FastAPI sees them; here they are described.
    @routes.post("/api/tasks", **openapi.SUBMIT)
    async def submit_task(request: Request) -> Response:
        """Accept a task: 202 once it is on every in-sync replica."""
        return await respond(hot.submit, request)

    @routes.post("/api/tasks/batch", **openapi.SUBMIT_BATCH)
    async def submit_tasks(request: Request) -> Response:
        """Accept up to 10,000 tasks; each is accepted or refused by itself."""
        return await respond(hot.submit_batch, request)

    @routes.get("/api/tasks/{id}", **openapi.GET_TASK)
    async def get_task(request: Request) -> Response:
        """The status document; with `wait` once its state is final."""
        return await respond(hot.get, request)

    @routes.get("/api/tasks", **openapi.LIST)
    async def list_tasks(request: Request) -> Response:
        """A page of tasks, newest first."""
        page = await runtime.view.page(listing_of(request.query_params))
        cursor = msgspec.json.encode(page.cursor)
        return Response(
            b'{"tasks":[' + b",".join(page.documents) + b'],"next_cursor":' + cursor + b"}", media_type=JSON
        )

    @routes.get("/api/tasks/{id}/result", **openapi.GET_RESULT)
    async def get_result(request: Request) -> Response:
        """The bare result of a task that succeeded; with `generation` that of an earlier one."""
        generation = generation_of(request.query_params)
        document = await _document(request, runtime, max_wait)
        if generation is not None:
            present = decode(document, Status)
            if generation != present.generation:
                return _result(await runtime.past_results.find(present, generation))
        if not state_of(document).final:
            return Response(document, 202, {"location": f"/api/tasks/{request.path_params['id']}"}, media_type=JSON)
        return _result(decode(document, Status))

    @routes.get("/api/tasks/{id}/why", **openapi.WHY)
    async def why(request: Request) -> Response:
        """Why a task is where it is."""
        found = await runtime.explainer.why(request.path_params["id"])
        return Response(msgspec.json.encode(found), media_type=JSON)

    @routes.delete("/api/tasks/{id}", **openapi.CANCEL)
    async def cancel_task(request: Request) -> Response:
        """Call a task off."""
        task_id: str = request.path_params["id"]
        request.scope[TASK_ID] = task_id
        async with runtime.audit.by_api(request, "task.cancel", task_id) as outcome:
            answer = await runtime.control.cancel(task_id)
            outcome.said, outcome.count = answer.outcome.value, 1
        document = msgspec.json.encode({"id": task_id, "cancellation": answer.outcome, "state": answer.state})
        return Response(document, 202 if answer.outcome in _UNDER_WAY else 200, media_type=JSON)

    @routes.patch("/api/tasks/{id}", **CHANGE_DUE)
    async def change_due(request: Request) -> Response:
        """Change when a waiting task is due."""
        task_id: str = request.path_params["id"]
        request.scope[TASK_ID] = task_id
        body = await read_body(request.receive, said_length(request), runtime.settings.api.max_body_bytes)
        async with runtime.audit.by_api(request, "task.reschedule", task_id) as outcome:
            status, done = await runtime.due.change(task_id, body)
            outcome.said, outcome.count = "changed" if done else "requested", 1
        return Response(msgspec.json.encode(status), 200 if done else 202, media_type=JSON)

    return routes


def _result(ended: Status | Outcome) -> Response:
    if ended.state is not State.SUCCEEDED:
        raise TaskFailedError(
            f"the task ended {ended.state}" + (f": {ended.error.message}" if ended.error else ""),
            id=ended.id,
            state=ended.state,
            error=ended.error,
            attempt=ended.attempt,
        )
    return Response(bytes(ended.result), media_type=JSON)


async def _document(request: Request, runtime: Runtime, max_wait: float) -> bytes:
    task_id: str = request.path_params["id"]
    request.scope[TASK_ID] = task_id
    wait = wait_of(request.query_params, max_wait)
    return await (runtime.lookup.wait(task_id, wait) if wait else runtime.lookup.find(task_id))
