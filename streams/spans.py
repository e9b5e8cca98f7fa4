"""What OpenTelemetry is told of runs: a span for each attempt, and one for the publication of what it ended with.

By the semantic conventions for messaging where there are some. Never of payloads and results; of an error what the
log and the status tell, too.
"""

from typing import TYPE_CHECKING

from msgspec import Raw

from laneway import tracing
from streams.attempt import LeaseUncertainError

if TYPE_CHECKING:
    from opentelemetry.trace import Span

    from streams.work import Work


def attempt(work: "Work", worker: str) -> "Span | None":
    """Begin the span of an attempt, a child of the request that submitted the task."""
    if tracing.tracer is None:
        return None
    from opentelemetry.trace import SpanKind

    record, task = work.source.record, work.task
    return tracing.tracer.start_span(
        f"process {task.type}",
        tracing.parent(work.traceparent),
        SpanKind.CONSUMER,
        {
            "messaging.system": "kafka",
            "messaging.operation.name": "process",
            "messaging.operation.type": "process",
            "messaging.destination.name": record.topic,
            "messaging.destination.partition.id": str(record.partition),
            "messaging.kafka.offset": record.offset,
            "messaging.message.id": task.id,
            "laneway.task.id": task.id,
            "laneway.task.type": task.type,
            "laneway.task.priority": task.priority.value,
            "laneway.task.generation": task.generation,
            "laneway.task.attempt": work.delivery.attempt,
            "laneway.worker": worker,
        },
    )


def result(work: "Work", ended_with: Raw | BaseException) -> None:
    """Note what an attempt returned or raised."""
    if work.span is None:
        return
    from opentelemetry.trace import StatusCode

    if isinstance(ended_with, LeaseUncertainError):
        work.span.set_attribute("error.type", "lease_uncertain")
    elif isinstance(ended_with, Raw):
        work.span.set_status(StatusCode.OK)
    else:
        work.span.record_exception(ended_with)
        work.span.set_attribute("error.type", type(ended_with).__name__)
        work.span.set_status(StatusCode.ERROR, f"{type(ended_with).__name__}: {ended_with}"[:1_000])


def again(work: "Work", seconds: float) -> None:
    """Note that another attempt follows."""
    if work.span is not None:
        work.span.add_event("retry", {"laneway.retry.in_seconds": seconds})


def over(work: "Work") -> None:
    """End the span of an attempt."""
    if work.span is not None:
        if work.end is not None:
            work.span.set_attribute("laneway.task.state", work.end.value)
        work.span.end()


def publication(work: "Work", topics: list[str]) -> None:
    """Begin the span of the publication of what an attempt ended with; the first try counts."""
    if tracing.tracer is None or work.span is None or work.telling is not None:
        return
    from opentelemetry import trace

    work.telling = tracing.tracer.start_span(
        f"send {topics[-1]}",
        trace.set_span_in_context(work.span, tracing.parent(None)),
        trace.SpanKind.PRODUCER,
        {
            "messaging.system": "kafka",
            "messaging.operation.name": "send",
            "messaging.operation.type": "send",
            "messaging.destination.name": topics[-1],
            "messaging.batch.message_count": len(topics),
            "messaging.message.id": work.task.id,
        },
    )


def published(work: "Work", *, dropped: bool = False) -> None:
    """End that span."""
    if work.telling is not None:
        if dropped:
            work.telling.set_attribute("error.type", "dropped")
        work.telling.end()
        work.telling = None
