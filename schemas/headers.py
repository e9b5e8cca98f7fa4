"""What travels beside a record's value: CloudEvents 1.0 in binary mode, W3C trace context, and Laneway's own.

``HEADERS`` is the closed list of names, held equal to ``docs/headers.md`` by a test.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Final

import msgspec
from msgspec import Struct

from schemas.errors import UndecodableRecordError
from schemas.status import ErrorInfo
from schemas.task import Task

Headers = list[tuple[str, bytes]]

CE_ID: Final = "ce_id"
CE_TYPE: Final = "ce_type"
CE_SOURCE: Final = "ce_source"
CE_TIME: Final = "ce_time"
CE_SPECVERSION: Final = "ce_specversion"
CONTENT_TYPE: Final = "content-type"
TRACEPARENT: Final = "traceparent"

ATTEMPT: Final = "laneway-attempt"
DEFERRALS: Final = "laneway-deferrals"
NOT_BEFORE: Final = "laneway-not-before"
REPEATED: Final = "laneway-repeated"
ERRORS: Final = "laneway-errors"
REPLAYED_FROM: Final = "laneway-replayed-from"
SHADOW: Final = "laneway-shadow"
DLQ_REASON: Final = "laneway-dlq-reason"
DLQ_ERROR: Final = "laneway-dlq-error"
DLQ_SOURCE: Final = "laneway-dlq-source"
DLQ_AT: Final = "laneway-dlq-at"
DLQ_WORKER: Final = "laneway-dlq-worker"
TRIES: Final = "laneway-tries"
AGAIN: Final = "laneway-again"

HEADERS: Final[dict[str, str]] = {
    CE_ID: "Unique with `ce_source`: names the task, its generation and the step.",
    CE_TYPE: "`laneway.` and `task`, `status`, `outcome`, `event`, `suspect`, `schedule`, `control`, "
    "`cancellation`, `due_change`, `withdrawal`, `audit`, `replay` or `worker`.",
    CE_SOURCE: "Which process wrote the record: `/laneway/ingest`, `/laneway/worker/<name>`, `/laneway/replay`.",
    CE_TIME: "When it was written, RFC 3339.",
    CE_SPECVERSION: "`1.0`.",
    CONTENT_TYPE: "`application/json`.",
    TRACEPARENT: "W3C trace context of the request that submitted the task.",
    ATTEMPT: "Number of the run that this record asks for, from 1; absent means 1.",
    DEFERRALS: "How often the run was put off: the handler asked for a later one, or somebody changed when it is due; "
    "absent means 0.",
    NOT_BEFORE: "On a waiting record: when it is due, RFC 3339.",
    REPEATED: "Present when the same run may have been asked for before: it is looked up in `status` before it starts, "
    "from its due time on; where that is not said, from the time that stands here (RFC 3339), else (`1`) its append.",
    ERRORS: "JSON array of the failures so far, oldest first.",
    REPLAYED_FROM: "On a replayed task: where the record lay that it was made of, as `topic-partition@offset`.",
    SHADOW: "On a shadow run: the id of the task that it repeats for comparison. The record has an id of its own, and "
    "all that comes of it is an outcome in `shadows`.",
    DLQ_REASON: "Why the record is a dead letter, or was set aside, in a word: `rejected`, `exhausted`, "
    "`undecodable`, …",
    DLQ_ERROR: "JSON object of the last error: type, message, retriable.",
    DLQ_SOURCE: "Where the record lay, as `topic-partition@offset`.",
    DLQ_AT: "When it was set aside, RFC 3339.",
    DLQ_WORKER: "Which worker, or consumer of outcomes, set it aside.",
    TRIES: "On an outcome that was set aside: how often its handler was called.",
    AGAIN: "On an outcome that was set aside: when somebody asked for it to be handled again, RFC 3339.",
}

MAX_ERRORS: Final = 20
"""Failures kept with a task; the oldest are dropped, the `events` topic keeps all."""
MAX_ERROR_MESSAGE: Final = 1_000
"""Characters of one message in a header or status."""

_KINDS: Final = (
    *("task", "status", "outcome", "event", "suspect", "schedule", "control", "cancellation", "audit", "replay"),
    *("worker", "due_change", "withdrawal"),
)
KIND_HEADERS: Final = {kind: (CE_TYPE, b"laneway." + kind.encode()) for kind in _KINDS}
"""The one header in which the records of one step differ."""

_JSON: Final = (CONTENT_TYPE, b"application/json")
_SPEC: Final = (CE_SPECVERSION, b"1.0")
_ERRORS_DECODER: Final = msgspec.json.Decoder(tuple[ErrorInfo, ...])
_TIME_DECODER: Final = msgspec.json.Decoder(datetime)


class Delivery(Struct, frozen=True):
    """The part of a waiting or repeated task that changes from attempt to attempt; it travels in headers."""

    attempt: int = 1
    """Number of the run that the record asks for."""
    deferrals: int = 0
    not_before: datetime | None = None
    errors: tuple[ErrorInfo, ...] = ()
    repeated: bool = False
    """Another record may have asked for the same run before."""
    since: datetime | None = None
    """Of a repeated record: nothing was told of the run before this time; ``None`` where it says no such time."""
    shadow_of: str | None = None
    """Of a shadow run: the id of the task that it repeats for comparison."""


FIRST_DELIVERY: Final = Delivery()
MAY_REPEAT: Final = (REPEATED, b"1")
"""The header of a record that may ask for a run once more, and does not say since when."""


def timestamp(at: datetime) -> bytes:
    """RFC 3339, as it stands in headers and records."""
    return msgspec.json.encode(at)[1:-1]


def cloud_event(kind: str, event_id: str, source: bytes, at: bytes, traceparent: bytes | None = None) -> Headers:
    """The headers that every record of ours carries.

    Args:
        kind: ``task``, ``status``, ``outcome``, ``event``, ``suspect``, ``schedule``, ``control``,
            ``cancellation``, ``due_change``, ``withdrawal``, ``audit``, ``replay`` or ``worker``.
        event_id: unique for ``source``.
        source: such as ``b"/laneway/ingest"``.
        at: see ``timestamp``.
        traceparent: W3C trace context, if there is one.
    """
    headers: Headers = [
        KIND_HEADERS[kind],
        (CE_ID, event_id.encode()),
        (CE_SOURCE, source),
        (CE_TIME, at),
        _SPEC,
        _JSON,
    ]
    if traceparent is not None:
        headers.append((TRACEPARENT, traceparent))
    return headers


def trace_id_of(traceparent: bytes) -> str:
    """The part of a W3C trace context that names the trace: 32 hexadecimal digits."""
    return traceparent[3:35].decode("latin-1")


def header(headers: Iterable[tuple[str, bytes | str | None]] | None, name: str) -> bytes | None:
    """The last value of ``name`` (Kafka allows a header to repeat), or ``None``."""
    found: bytes | None = None
    for key, value in headers or ():
        if key == name and value is not None:
            found = value.encode() if isinstance(value, str) else value
    return found


def delivery_headers(delivery: Delivery) -> Headers:
    """What a retry record carries besides its CloudEvents headers."""
    headers: Headers = [(ATTEMPT, str(delivery.attempt).encode())]
    if delivery.deferrals:
        headers.append((DEFERRALS, str(delivery.deferrals).encode()))
    if delivery.not_before is not None:
        headers.append((NOT_BEFORE, timestamp(delivery.not_before)))
    if delivery.errors:
        headers.append((ERRORS, msgspec.json.encode(delivery.errors)))
    if delivery.repeated:
        headers.append(MAY_REPEAT if delivery.since is None else (REPEATED, timestamp(delivery.since)))
    if delivery.shadow_of is not None:
        headers.append((SHADOW, delivery.shadow_of.encode()))
    return headers


def read_delivery(headers: Iterable[tuple[str, bytes | str | None]] | None) -> Delivery:
    """Which run a record asks for; the first where its headers say nothing.

    Raises:
        UndecodableRecordError: one of our headers has a value that we never write.
    """
    ours = {key: value for key, value in headers or () if key.startswith("laneway-") and value is not None}
    if not ours:
        return FIRST_DELIVERY
    try:
        delivery = Delivery(
            attempt=int(ours.get(ATTEMPT, b"1")),
            deferrals=int(ours.get(DEFERRALS, b"0")),
            not_before=_read_time(ours[NOT_BEFORE]) if NOT_BEFORE in ours else None,
            errors=_ERRORS_DECODER.decode(ours[ERRORS]) if ERRORS in ours else (),
            repeated=REPEATED in ours,
            since=_read_time(ours[REPEATED]) if ours.get(REPEATED, b"1") not in (b"1", "1") else None,
            shadow_of=_text(ours[SHADOW]) if SHADOW in ours else None,
        )
    except (ValueError, msgspec.DecodeError) as error:
        raise UndecodableRecordError(f"a laneway-… header of the record is not readable: {error}") from error
    if delivery.attempt < 1 or delivery.deferrals < 0:
        raise UndecodableRecordError(f"headers ask for attempt {delivery.attempt}, deferral {delivery.deferrals}")
    return delivery


def task_event_id(task: Task, *step: object) -> str:
    """CloudEvents id of a record about ``task``: its id, generation and the step that it tells."""
    return ".".join(map(str, (task.id, task.generation, *step)))


def _text(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode()


def _read_time(value: bytes | str) -> datetime:
    text = value if isinstance(value, bytes) else value.encode()
    at = _TIME_DECODER.decode(b'"' + text + b'"')
    if at.tzinfo is None:
        raise ValueError(f"time without zone: {text!r}")
    return at
