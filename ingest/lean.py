"""The routes that are asked thousands of times a second, answered without a framework around them."""

import time
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

import structlog
from starlette.datastructures import QueryParams
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from ingest import problems
from ingest.admission import moment
from ingest.body import read_body
from ingest.parameters import tries_of, wait_of
from ingest.requests_log import REQUEST_ID_HEADER, ROUTE, RequestLines, request_id_of
from ingest.runtime import Runtime
from schemas.headers import trace_id_of

log = structlog.get_logger("ingest.requests")

TRY: Final = b"laneway-try"
_TASKS: Final = "/api/tasks"
_BATCH: Final = "/api/tasks/batch"
_TASK: Final = "/api/tasks/"
_COUNTS: Final = "/api/tasks/counts"
_TASK_ROUTE: Final = "/api/tasks/{id}"
_LINES: Final = frozenset(
    {b"application/x-ndjson", b"application/ndjson", b"application/jsonl", b"application/jsonlines"}
)
_JSON: Final = (b"content-type", b"application/json")

RawHeaders = dict[bytes, bytes]


class Answer(NamedTuple):
    """What a request is answered with."""

    status: int
    body: bytes
    task_id: str | None = None
    location: bytes | None = None
    traceparent: bytes | None = None
    """Of what was submitted."""


Handler = Callable[[Scope, RawHeaders, Receive], Awaitable[Answer]]


class HotRoutes:
    """What the routes do, whoever calls them.

    Raises:
        AdmissionError: (every method) the request is refused, or cannot be answered now.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._limit = runtime.settings.api.max_body_bytes
        self._max_wait = runtime.settings.api.max_wait

    async def submit(self, scope: Scope, headers: RawHeaders, receive: Receive) -> Answer:
        """Accept a task: 202 once it is on every in-sync replica."""
        body = await read_body(receive, headers.get(b"content-length"), self._limit)
        at = moment(headers.get(b"traceparent"))
        key = headers.get(b"idempotency-key")
        intake = self._runtime.intake
        if key is None:
            answer = await intake.submit(body, at)
        else:
            answer = await intake.submit_keyed(body, at, key.decode("latin-1"), tries_of(headers.get(TRY)))
        location = b"/api/tasks/" + answer.id.encode()
        return Answer(202 if answer.created else 200, answer.document, answer.id, location, at.traceparent)

    async def submit_batch(self, scope: Scope, headers: RawHeaders, receive: Receive) -> Answer:
        """Accept up to 10,000 tasks; each is accepted or refused by itself."""
        body = await read_body(receive, headers.get(b"content-length"), self._limit)
        key = headers.get(b"idempotency-key")
        media_type = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        at = moment(headers.get(b"traceparent"))
        batch = await self._runtime.intake.submit_many(
            body,
            at,
            lines=media_type in _LINES,
            key=None if key is None else key.decode("latin-1"),
            tries=None if key is None else tries_of(headers.get(TRY)),
        )
        tasks = b'{"tasks":[' + b",".join(batch.answers) + b"]}"
        return Answer(207 if batch.refused else 202, tasks, traceparent=at.traceparent)

    async def get(self, scope: Scope, headers: RawHeaders, receive: Receive) -> Answer:
        """The status document; with ``wait`` once its state is final."""
        task_id: str = scope["path"][len(_TASK) :]
        query: bytes = scope["query_string"]
        wait = wait_of(QueryParams(query), self._max_wait) if query else 0.0
        lookup = self._runtime.lookup
        return Answer(200, await (lookup.wait(task_id, wait) if wait else lookup.find(task_id)), task_id)


class LeanRoutes:
    """ASGI application: serves the hot routes itself, and hands everything else on.

    They behave as every other route does: the same problem documents, request ids and lines of the log. Their FastAPI
    routes describe them.
    """

    def __init__(self, app: ASGIApp, hot: HotRoutes, lines: RequestLines) -> None:
        self._app = app
        self._hot = hot
        self._lines = lines

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http":
            path: str = scope["path"]
            method: str = scope["method"]
            if method == "POST":
                if path == _TASKS:
                    await self._serve(scope, receive, send, self._hot.submit, _TASKS)
                    return
                if path == _BATCH:
                    await self._serve(scope, receive, send, self._hot.submit_batch, _BATCH)
                    return
            elif (
                method == "GET"
                and path.startswith(_TASK)
                and len(path) > len(_TASK) > path.rfind("/")
                and path != _COUNTS
            ):
                await self._serve(scope, receive, send, self._hot.get, _TASK_ROUTE)
                return
        await self._app(scope, receive, send)

    async def _serve(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        handler: Handler,
        route: str,
    ) -> None:
        scope[ROUTE] = route
        began = time.perf_counter()
        headers: RawHeaders = dict(scope["headers"])
        request_id = request_id_of(headers.get(REQUEST_ID_HEADER))
        status, size, task_id, traceparent = 0, 0, None, None
        try:
            try:
                status, body, task_id, location, traceparent = await handler(scope, headers, receive)
            except problems.ANSWERED as error:
                response = problems.answer(error)
                status, body = response.status_code, bytes(response.body)
                answered = response.raw_headers
            else:
                answered = [_JSON, (b"content-length", b"%d" % len(body))]
                if location is not None:
                    answered.append((b"location", location))
            answered.append((REQUEST_ID_HEADER, request_id))
            size = len(body)
            await send({"type": "http.response.start", "status": status, "headers": answered})
            await send({"type": "http.response.body", "body": body})
        except ClientDisconnect:
            status = 0
        except Exception:  # the boundary of a request: the process goes on
            log.exception("request failed", method=scope["method"], path=scope["path"], request_id=request_id.decode())
            response = problems.unexpected()
            status, size = response.status_code, len(response.body)
            response.raw_headers.append((REQUEST_ID_HEADER, request_id))
            await response(scope, receive, send)
        finally:
            if scope["method"] == "GET" and task_id is None:
                task_id = scope["path"][len(_TASK) :]
            seconds = time.perf_counter() - began
            trace_id = None if traceparent is None else trace_id_of(traceparent)
            self._lines.tell(scope["method"], route, status, seconds, size, request_id.decode(), task_id, trace_id)


async def respond(handler: Handler, request: Request) -> Response:
    """A hot route's answer for whoever asks by FastAPI's own way."""
    answer = await handler(request.scope, dict(request.headers.raw), request.receive)
    headers = {} if answer.location is None else {"location": answer.location.decode()}
    return Response(answer.body, answer.status, headers, "application/json")
