"""The records of tasks that say nothing but type, payload and priority, joined from parts made beforehand."""

from datetime import UTC, datetime
from typing import Final, NamedTuple

from msgspec import Raw

from laneway.kafka.wire import EncodedRecord, record_header, varint
from schemas.codec import encode
from schemas.headers import cloud_event, timestamp
from schemas.outcome import Event
from schemas.status import State, Status
from schemas.task import Lane, Priority, Task
from schemas.topics import Topics

_ID: Final = "00000000-0000-7000-8000-000000000000"
_AT: Final = datetime(2001, 2, 3, 4, 5, 6, 789, UTC)
_PAYLOAD: Final = b'"@"'
_ID_LENGTH: Final = varint(len(_ID))
_QUEUED: Final = State.QUEUED
_OWN: Final = 2
"""Headers of ``cloud_event`` that differ between the records of a request: they come first."""


def shared_headers(source: bytes, stamp: bytes, traceparent: bytes) -> bytes:
    """The headers that all records of one request have in common, as they lie behind those of the record itself."""
    before, between, after = _shared(source, len(stamp), len(traceparent))
    return b"".join((before, stamp, between, traceparent, after))


class PlainRecords(NamedTuple):
    """What accepting a plain task takes."""

    document: bytes
    """The status document."""
    partition: int
    task: EncodedRecord
    status: EncodedRecord
    event: EncodedRecord


class PlainTask:
    """Parts of the three records that accept a plain task of one lane.

    They are cut out of records that were made the general way, so there is one definition of what a record holds.
    """

    def __init__(self, topics: Topics, lane: Lane, max_attempts: int) -> None:
        name, priority = lane
        self._topics = topics.lane(lane), topics.status, topics.events
        self._task = _template(
            encode(Task(id=_ID, type=name, payload=Raw(_PAYLOAD), priority=priority, created_at=_AT))
        )
        self._status = _template(
            encode(
                Status(
                    id=_ID,
                    type=name,
                    priority=priority,
                    state=_QUEUED,
                    max_attempts=max_attempts,
                    created_at=_AT,
                    updated_at=_AT,
                )
            )
        )
        self._event = _template(encode(Event(id=_ID, type=name, priority=priority, state=_QUEUED, at=_AT)))

    def records(self, key: bytes, payload: bytes, partition: int, stamp: bytes, shared: bytes) -> PlainRecords:
        """What accepting a task takes.

        Args:
            key: its id.
            payload: as JSON.
            partition: where it goes.
            stamp: when it is accepted.
            shared: see ``shared_headers``.
        """
        lane, statuses, events = self._topics
        task = self._task % (key, payload, stamp)
        document = self._status % (key, stamp, stamp)
        event = self._event % (key, stamp)
        join = b"".join
        return PlainRecords(
            document,
            partition,
            EncodedRecord(
                lane,
                partition,
                join((_ID_LENGTH, key, varint(len(task)), task, _TASK_HEAD, key, _TASK_KIND, shared)),
            ),
            EncodedRecord(
                statuses,
                partition,
                join((_ID_LENGTH, key, varint(len(document)), document, _STATUS_HEAD, key, _STATUS_KIND, shared)),
            ),
            EncodedRecord(
                events,
                partition,
                join((_ID_LENGTH, key, varint(len(event)), event, _EVENT_HEAD, key, _EVENT_KIND, shared)),
            ),
        )


class PlainTasks:
    """The parts of every lane, made when a lane's first task comes."""

    def __init__(self, topics: Topics) -> None:
        self._topics = topics
        self._made: dict[tuple[str, Priority], PlainTask] = {}

    def of(self, name: str, priority: Priority, max_attempts: int) -> PlainTask:
        """Those of a lane."""
        found = self._made.get((name, priority))
        if found is None:
            found = self._made[name, priority] = PlainTask(self._topics, Lane(name, priority), max_attempts)
        return found


def _template(record: bytes) -> bytes:
    record = record.replace(b"%", b"%%")
    for part in (_ID.encode(), _PAYLOAD, timestamp(_AT)):
        record = record.replace(part, b"%b")
    return record


def _own_headers(kind: str, step: str) -> tuple[bytes, bytes]:
    """Number of headers and the record's own, before and after its task's id."""
    headers = cloud_event(kind, f"{_ID}{step}", b"", b"", b"")
    own = b"".join(record_header(*each) for each in headers[:_OWN])
    before, _, after = own.partition(_ID.encode())
    return varint(len(headers)) + before, after


def _shared(source: bytes, stamp: int, traceparent: int) -> tuple[bytes, bytes, bytes]:
    found = _SHARED.get((source, stamp, traceparent))
    if found is None:
        at, trace = b"@" * stamp, b"~" * traceparent
        whole = b"".join(record_header(*each) for each in cloud_event("task", "", source, at, trace)[_OWN:])
        before, _, rest = whole.partition(at)
        between, _, after = rest.partition(trace)
        found = _SHARED[source, stamp, traceparent] = before, between, after
    return found


_SHARED: Final[dict[tuple[bytes, int, int], tuple[bytes, bytes, bytes]]] = {}
"""By source and by the lengths of time-stamp and trace, of which there are two and one."""
_TASK_HEAD, _TASK_KIND = _own_headers("task", ".1")
_STATUS_HEAD, _STATUS_KIND = _own_headers("status", f".1.{_QUEUED.value}")
_EVENT_HEAD, _EVENT_KIND = _own_headers("event", f".1.{_QUEUED.value}")
