"""Spans for OpenTelemetry where a collector is named; elsewhere a call site costs one look at a module's variable.

Every task carries the W3C trace context of the request that submitted it, whether anybody records spans or not
(``schemas.headers.TRACEPARENT``). Set up by the variables that OpenTelemetry defines; spans go by OTLP over HTTP.
"""

import contextlib
import logging
import os
import threading
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

from laneway import __version__
from schemas.errors import ConfigurationError

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span, Tracer

ENDPOINT: Final = "OTEL_EXPORTER_OTLP_ENDPOINT"
TRACES_ENDPOINT: Final = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
_PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_HTTP: Final = "http/protobuf"
_STOP_WITHIN: Final = 3.0
_COMPLAIN_EVERY: Final = 300.0

tracer: "Tracer | None" = None
"""What makes spans; ``None`` where nobody wants any."""

_provider: "TracerProvider | None" = None


def wanted(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether the environment names a collector for traces."""
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true" or environment.get("OTEL_TRACES_EXPORTER") == "none":
        return False
    return bool(environment.get(TRACES_ENDPOINT) or environment.get(ENDPOINT))


def start(service: str, *, delay: float | None = None) -> None:
    """Make spans from now on, if a collector is named.

    Args:
        service: this process, unless ``OTEL_SERVICE_NAME`` says otherwise.
        delay: seconds between two exports; by default what OpenTelemetry takes.

    Raises:
        ConfigurationError: a collector is named, and OpenTelemetry is not installed, or is to speak gRPC.
    """
    global tracer, _provider
    if not wanted() or tracer is not None:
        return
    name = TRACES_ENDPOINT if os.environ.get(TRACES_ENDPOINT) else ENDPOINT
    protocol = next((value for each in _PROTOCOLS if (value := os.environ.get(each))), _HTTP)
    if protocol != _HTTP:
        raise ConfigurationError(_PROTOCOLS[1], protocol, f"{_HTTP}, which is what Laneway speaks to collectors")
    try:
        from opentelemetry import trace
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise ConfigurationError(name, os.environ[name], "unset, or `pip install 'laneway[otel]'`") from error
    named = {SERVICE_NAME: os.environ.get("OTEL_SERVICE_NAME") or service, SERVICE_VERSION: __version__}
    provider = TracerProvider(resource=Resource.create(named), shutdown_on_exit=False)
    millis = None if delay is None else delay * 1_000
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(), schedule_delay_millis=millis))
    trace.set_tracer_provider(provider)  # the user's own spans go the same way
    for each in ("opentelemetry.exporter.otlp.proto.http.trace_exporter", "opentelemetry.sdk._shared_internal"):
        logging.getLogger(each).addFilter(_Seldom())
    _provider, tracer = provider, provider.get_tracer("laneway", __version__)


def stop() -> None:
    """Export what is left and make no spans any more. Blocking: some seconds at most, whatever the collector does."""
    global tracer, _provider
    provider, _provider, tracer = _provider, None, None
    if provider is not None:
        ending = threading.Thread(target=provider.shutdown, name="traces-end", daemon=True)
        ending.start()
        ending.join(_STOP_WITHIN)


def parent(traceparent: bytes | str | None) -> "Context":
    """The context that a header names; an empty one where it names none."""
    from opentelemetry.context import Context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    if traceparent is None:
        return Context()
    text = traceparent if isinstance(traceparent, str) else traceparent.decode("latin-1")
    return TraceContextTextMapPropagator().extract({"traceparent": text}, Context())


def traceparent_of(span: "Span") -> str:
    """The header that names a span as the parent of others."""
    context = span.get_span_context()
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


@contextlib.contextmanager
def inside(span: "Span | None") -> "Iterator[None]":
    """Have spans that are begun in the block be children of ``span``; what is raised in it is not noted here."""
    if span is None:
        yield
        return
    from opentelemetry import trace

    with trace.use_span(span, record_exception=False, set_status_on_exception=False):
        yield


@contextlib.contextmanager
def under(traceparent: str | None) -> "Iterator[None]":
    """As ``inside``, for a span of another process."""
    if tracer is None or traceparent is None:
        yield
        return
    from opentelemetry import context

    token = context.attach(parent(traceparent))
    try:
        yield
    finally:
        context.detach(token)


def outgoing() -> dict[str, str]:
    """The header for a request to others, as a child of the span that is open here; nothing where none is."""
    if tracer is None:
        return {}
    from opentelemetry import trace

    span = trace.get_current_span()
    return {"traceparent": traceparent_of(span)} if span.get_span_context().is_valid else {}


class _Seldom(logging.Filter):
    """Lets a line through now and then: a collector that is away is told of once, not at every export."""

    def __init__(self) -> None:
        super().__init__()
        self._again_at = 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        now = time.monotonic()
        if now < self._again_at:
            return False
        self._again_at = now + _COMPLAIN_EVERY
        return True
