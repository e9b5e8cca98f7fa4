"""What OpenTelemetry is told of the API: a span for each request that changes something, and for what it appends."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ingest.requests_log import ROUTE
from laneway import tracing
from laneway.kafka.appender import Appended
from laneway.kafka.log import Log
from laneway.kafka.wire import EncodedRecord
from schemas.headers import TRACEPARENT

if TYPE_CHECKING:
    import asyncio

    from opentelemetry.trace import Tracer

_READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})
"""What is only read is asked for thousands of times a second, and says nothing of a task's way."""
_HEADER: Final = TRACEPARENT.encode()
_FAILED: Final = 500


class TracedRequests:
    """ASGI application: serves by another, each request that changes something within a span.

    The span continues the trace that the client names, and its own name goes on to whatever is submitted.
    """

    def __init__(self, app: ASGIApp, tracer: "Tracer") -> None:
        self._app = app
        self._tracer = tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["method"] in _READING:
            await self._app(scope, receive, send)
            return
        from opentelemetry.trace import SpanKind, StatusCode

        method: str = scope["method"]
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        named = next((value for name, value in headers if name == _HEADER), None)
        span = self._tracer.start_span(
            method, tracing.parent(named), SpanKind.SERVER, {"http.request.method": method, "url.path": scope["path"]}
        )
        others = [(name, value) for name, value in headers if name != _HEADER]
        scope["headers"] = [*others, (_HEADER, tracing.traceparent_of(span).encode())]
        status = 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            with tracing.inside(span):
                await self._app(scope, receive, answer)
        finally:
            route = getattr(scope.get("route"), "path", None) or scope.get(ROUTE)
            if route is not None:
                span.update_name(f"{method} {route}")
                span.set_attribute("http.route", route)
            if status:
                span.set_attribute("http.response.status_code", status)
            if not status or status >= _FAILED:
                span.set_status(StatusCode.ERROR)
            span.end()


class TracedLog:
    """A log whose appends are spans, where they belong to a request that is one."""

    def __init__(self, log: Log, tracer: "Tracer") -> None:
        self._log = log
        self._tracer = tracer

    def expect(self, topics: Iterable[str]) -> None:
        """As the log does."""
        self._log.expect(topics)

    def send(self, records: Sequence[EncodedRecord], *, urgent: bool = False) -> "asyncio.Future[Appended]":
        """As the log does."""
        from opentelemetry import trace

        sent = self._log.send(records, urgent=urgent)
        if not trace.get_current_span().is_recording() or not records:
            return sent
        topic = records[0].topic
        span = self._tracer.start_span(
            f"send {topic}",
            kind=trace.SpanKind.PRODUCER,
            attributes={
                "messaging.system": "kafka",
                "messaging.operation.name": "send",
                "messaging.operation.type": "send",
                "messaging.destination.name": topic,
                "messaging.batch.message_count": len(records),
            },
        )

        def over(future: "asyncio.Future[Appended]") -> None:
            error = asyncio.CancelledError() if future.cancelled() else future.exception()
            if error is not None:
                span.set_attribute("error.type", type(error).__name__)
                span.set_status(trace.StatusCode.ERROR)
            span.end()

        sent.add_done_callback(over)
        return sent

    @property
    def failures(self) -> int:
        """As the log tells."""
        return self._log.failures

    async def close(self, *, within: float = 10.0) -> None:
        """As the log does."""
        await self._log.close(within=within)
