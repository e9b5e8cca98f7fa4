"""One structured line for every request."""

import os
import re
import time
from typing import Final

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ingest import problems

TASK_ID: Final = "laneway.task_id"
"""Key of the request's scope under which a route notes the task that it was about."""
REQUEST_ID_HEADER: Final = b"x-request-id"

_VALID_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}")

log = structlog.get_logger("ingest.requests")


class RequestsLog:
    """ASGI middleware: an id and a line of the log for each request, and a 500 for what nobody caught."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        request_id = _request_id(scope)
        status = 0
        sent = 0

        async def counted(message: Message) -> None:
            nonlocal status, sent
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (REQUEST_ID_HEADER, request_id)]
            else:
                sent += len(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, receive, counted)
        except Exception:  # the boundary of a request: the process goes on
            log.exception("request failed", method=scope["method"], path=scope["path"], request_id=request_id.decode())
            if not status:
                await problems.unexpected()(scope, receive, counted)
        finally:
            self._tell(scope, request_id, status, sent, time.perf_counter() - began)

    @staticmethod
    def _tell(scope: Scope, request_id: bytes, status: int, sent: int, seconds: float) -> None:
        route = scope.get("route")
        fields: dict[str, object] = {
            "method": scope["method"],
            "route": getattr(route, "path", None) or scope["path"],
            "status": status or 499,  # nginx's number for a client that left before the answer
            "duration_ms": round(seconds * 1000, 2),
            "bytes": sent,
            "request_id": request_id.decode(),
        }
        task_id = scope.get(TASK_ID)
        if task_id is not None:
            fields["task_id"] = task_id
        log.info("request", **fields)


def _request_id(scope: Scope) -> bytes:
    """The client's own where it sends a sound one."""
    for name, value in scope["headers"]:
        if name == REQUEST_ID_HEADER and _VALID_ID.fullmatch(value):
            found: bytes = value
            return found
    return os.urandom(8).hex().encode()
