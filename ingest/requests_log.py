"""One structured line for every request."""

import asyncio
import sys
import time
from collections import Counter, defaultdict
from datetime import UTC, datetime
from re import compile as pattern
from typing import Final

import msgspec
import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ingest import problems
from laneway.ids import random_hex
from laneway.measures import Histogram
from schemas.metrics import API_SECONDS
from schemas.settings import LogSettings

TASK_ID: Final = "laneway.task_id"
"""Key of the request's scope under which a route notes the task that it was about."""
ROUTE: Final = "laneway.route"
"""Key of the scope under which a lean route notes its pattern."""
QUIET: Final = "laneway.quiet"
"""Key of the scope of a request that a page repeats by itself: worth no line unless it fails."""
REQUEST_ID_HEADER: Final = b"x-request-id"

_VALID_ID: Final = pattern(rb"[A-Za-z0-9._-]{1,64}")
_PLAIN: Final = pattern(r"[^\s\"'=\\]+")
_FLUSH_SECONDS: Final = 0.1
_FLUSH_LINES: Final = 500
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_CLIENT_LEFT: Final = 499
"""nginx's number for a client that left before the answer."""

log = structlog.get_logger("ingest.requests")


class RequestCounts:
    """How many requests each route has answered, and how fast."""

    def __init__(self) -> None:
        self.routes: frozenset[str] = frozenset()
        """Patterns of the routes that there are: what is asked for besides counts as one."""
        self.answered: Counter[tuple[str, str, int]] = Counter()
        """By method, route and status."""
        self.seconds: defaultdict[tuple[str, str], Histogram] = defaultdict(lambda: Histogram(API_SECONDS))
        """By method and route."""

    def count(self, method: str, route: str, status: int, seconds: float) -> None:
        """A request was answered."""
        if route not in self.routes:
            route = "other"
        if method not in _METHODS:
            method = "other"
        self.answered[method, route, status] += 1
        self.seconds[method, route].observe(seconds)


class RequestLines:
    """Writes the lines: what a request's line costs, every task costs.

    They look as all lines of the log do. Where nobody watches a terminal they are put together here and written many
    at once, up to ``_FLUSH_SECONDS`` later; each has its own time.
    """

    def __init__(self, settings: LogSettings) -> None:
        self._wanted = settings.level in {"DEBUG", "INFO"}
        self._watched = settings.format == "console" and sys.stderr.isatty()
        self._as_json = settings.format == "json"
        self._lines: list[str] = []
        self._flushing: asyncio.TimerHandle | None = None
        self.counts = RequestCounts()

    def tell(
        self,
        method: str,
        route: str,
        status: int,
        seconds: float,
        size: int,
        request_id: str,
        task_id: str | None,
        trace_id: str | None = None,
    ) -> None:
        """Write a request's line, and count it; status 0 is a client that left before the answer."""
        self.counts.count(method, route, status or _CLIENT_LEFT, seconds)
        if not self._wanted:
            return
        fields: dict[str, str | int | float] = {
            "method": method,
            "route": route,
            "status": status or _CLIENT_LEFT,
            "duration_ms": round(seconds * 1000, 2),
            "bytes": size,
            "request_id": request_id,
        }
        if task_id is not None:
            fields["task_id"] = task_id
        if trace_id is not None:
            fields["trace_id"] = trace_id
        if self._watched:
            log.info("request", **fields)
            return
        at = datetime.now(UTC).isoformat()[:-6] + "Z"
        if self._as_json:
            fields["event"] = "request"
            fields["level"] = "info"
            fields["timestamp"] = at
            line = msgspec.json.encode(fields).decode()
        else:
            line = (
                f"{at} [info     ] request                        bytes={size} duration_ms={fields['duration_ms']}"
                f" method={method} request_id={request_id} route={_told(route)} status={fields['status']}"
            )
            if task_id is not None:
                line += f" task_id={_told(task_id)}"
            if trace_id is not None:
                line += f" trace_id={trace_id}"
        self._lines.append(line)
        if len(self._lines) >= _FLUSH_LINES:
            self.flush()
        elif self._flushing is None:
            self._flushing = asyncio.get_running_loop().call_later(_FLUSH_SECONDS, self.flush)

    def flush(self) -> None:
        """Write what is kept back."""
        if self._flushing is not None:
            self._flushing.cancel()
            self._flushing = None
        if self._lines:
            self._lines.append("")
            text = "\n".join(self._lines)
            self._lines.clear()
            sys.stderr.write(text)
            sys.stderr.flush()


def _told(text: str) -> str:
    """As a console line has it: quoted where it could be taken for something else, so that nobody writes a line."""
    return text if text.isprintable() and _PLAIN.fullmatch(text) else repr(text)


class RequestsLog:
    """ASGI middleware: an id and a line of the log for each request, and a 500 for what nobody caught."""

    def __init__(self, app: ASGIApp, lines: RequestLines) -> None:
        self._app = app
        self._lines = lines

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        request_id = request_id_of(dict(scope["headers"]).get(REQUEST_ID_HEADER))
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
            route = getattr(scope.get("route"), "path", None) or scope["path"]
            seconds = time.perf_counter() - began
            if QUIET not in scope:
                told = request_id.decode()
                self._lines.tell(scope["method"], route, status, seconds, sent, told, scope.get(TASK_ID))


def request_id_of(said: bytes | None) -> bytes:
    """The client's own where it sends a sound one."""
    if said is not None and _VALID_ID.fullmatch(said):
        return said
    return random_hex(8).encode()
