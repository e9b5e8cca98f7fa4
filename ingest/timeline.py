"""What happened to a task: its records in ``events``, once or as they come."""

from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

import msgspec

from ingest.lookup import Lookup
from laneway.kafka.scan import KeyScanner
from laneway.kafka.tail import LogTail
from schemas.codec import decode
from schemas.errors import BrokerUnavailableError, MalformedRequestError, UnavailableError
from schemas.outcome import Event
from schemas.settings import Settings
from schemas.status import Status
from schemas.topics import Topics, partition_of

MOST_READ: Final = 200_000
"""Records of a partition that one question reads through: about a second."""
KEEP_ALIVE_SECONDS: Final = 15.0
_CLOCKS_DIFFER: Final = timedelta(seconds=10)
_SETTLES_WITHIN: Final = 3.0
INCOMPLETE: Final = (-1, b"")
"""Stands for events that are not told: the task lived too long, in too busy a partition, or retention took them."""
_TOLD_LATE: Final = timedelta(seconds=60)


class Timeline(NamedTuple):
    """The events of a task, oldest first, each as it lies in the log."""

    events: list[bytes]
    complete: bool
    """Whether all are here; else the task lived so long, in so busy a partition, that only those are which lie around
    the times that its status tells."""


class Timelines:
    """Reads and follows ``events``.

    Nothing is kept of them: the status document says where to look.
    """

    def __init__(self, settings: Settings, lookup: Lookup) -> None:
        topic = Topics(settings.kafka.topic_prefix).events
        self._partitions = settings.kafka.partitions
        self._lookup = lookup
        self._scanner = KeyScanner(settings, topic, "laneway-events-scan")
        self._tail = LogTail(settings, topic, "laneway-events-tail")

    def release(self) -> None:
        """End what is followed: the process is about to stop."""
        self._tail.release()

    async def close(self) -> None:
        """Let go of the log."""
        await self._tail.close()
        self._scanner.close()

    async def read(self, task_id: str) -> Timeline:
        """Every transition and progress report of a task, of all its generations.

        Raises:
            TaskNotFoundError: no such task was ever accepted.
            TaskGoneError: its status is past retention.
            UnavailableError: it cannot be known now.
        """
        status = decode(await self._lookup.find(task_id), Status)
        until = status.updated_at + _TOLD_LATE if status.state.final else None
        try:
            found = await self._scanner.read(
                self._partition(status),
                task_id.encode(),
                status.created_at - _CLOCKS_DIFFER,
                until if until is not None and until < datetime.now(UTC) else None,
                _moments(status),
                MOST_READ,
            )
        except BrokerUnavailableError as error:
            raise UnavailableError("the log of events cannot be read now") from error
        return Timeline(_in_order(record.value for record in found.records), found.complete)

    async def follow(self, task_id: str, after: str | None) -> AsyncGenerator[bytes] | None:
        """The task's events as server-sent events, from the first one, or from what follows the id ``after``.

        ``None`` when nothing will follow that id any more.

        Ends once the task is final: the last one is called ``end`` and has the status document. Where it ends without,
        the process is stopping or the reader was too slow: it asks again with the last id that it has.

        Raises:
            MalformedRequestError: ``after`` is none of our ids.
            AdmissionError: as ``read``.
        """
        status = decode(await self._lookup.find(task_id), Status)
        number, key = self._partition(status), task_id.encode()
        if after is None:
            return self._follow(status, number, key, status.created_at - _CLOCKS_DIFFER)
        first = _offset_of(after, number) + 1
        if status.state.final and not (await self._before(status, number, key, first, 0))[0]:
            return None
        return self._follow(status, number, key, first)

    async def _follow(self, status: Status, number: int, key: bytes, since: datetime | int) -> AsyncGenerator[bytes]:
        yield b"retry: 1000\n\n"
        try:
            async with aclosing(self._records(status, number, key, since)) as records:
                async for record in records:
                    if record is INCOMPLETE:
                        yield b"event: incomplete\ndata: {}\n\n"
                        continue
                    if record is None and not status.state.final:
                        yield b": still here\n\n"
                        continue
                    if record is not None:
                        offset, value = record
                        event = decode(value, Event)
                        yield _told(number, offset, event, value)
                        if not (event.state.final and event.generation >= status.generation):
                            continue
                    # The view may be a moment behind the event.
                    document = await self._lookup.wait(status.id, _SETTLES_WITHIN)
                    yield b"event: end\ndata: " + document + b"\n\n"
                    return
        except (BrokerUnavailableError, UnavailableError) as error:
            yield f": {error}\n\n".encode()

    async def _records(
        self, status: Status, number: int, key: bytes, since: datetime | int
    ) -> AsyncGenerator[tuple[int, bytes] | None]:
        """Offset and value of each event, once and in order, as they come; ``None`` when none has come for a while."""
        # The event of a final status may come a moment after it; of one from long ago the log tells no more.
        patience = _SETTLES_WITHIN if status.state.final else KEEP_ALIVE_SECONDS
        async with self._tail.listen(number, key) as listener:
            # A tail that has just begun hands over what was told before it, too.
            sent = since - 1 if isinstance(since, int) else -1
            before, complete = await self._before(status, number, key, since, listener.position)
            if not complete:
                yield INCOMPLETE
            for offset, value in before:
                sent = offset
                yield offset, value
            while not listener.over:
                record = await listener.next(patience)
                if record is None:
                    yield None
                elif record.offset > sent:
                    sent = record.offset
                    yield record.offset, record.value

    async def _before(
        self, status: Status, number: int, key: bytes, since: datetime | int, until: int
    ) -> tuple[list[tuple[int, bytes]], bool]:
        """What was told from ``since`` on: before offset ``until``, or to the end where the status is final.

        The second is whether that is all of it.

        Raises:
            UnavailableError: it cannot be read now.
        """
        if not status.state.final:
            remembered = self._tail.remembered(number, key, since=since, until=until)
            if remembered is not None:
                return [(record.offset, record.value) for record in remembered], True
        try:
            found = await self._scanner.read(number, key, since, None, _moments(status), MOST_READ)
        except BrokerUnavailableError as error:
            raise UnavailableError("the log of events cannot be read now") from error
        told = [(each.offset, each.value) for each in found.records if status.state.final or each.offset < until]
        return told, found.complete

    def _partition(self, status: Status) -> int:
        return partition_of(status.ordering_key or status.id, self._partitions)


def _moments(status: Status) -> list[datetime]:
    """When something happened, as far as a status tells."""
    told = [status.created_at, status.started_at, status.updated_at, status.finished_at, status.not_before]
    return [moment for moment in (*told, *(error.at for error in status.errors)) if moment is not None]


def _told(number: int, offset: int, event: Event, value: bytes) -> bytes:
    name = "progress" if event.progress is not None and not event.state.final else str(event.state)
    return b"id: %d-%d\nevent: %s\ndata: %s\n\n" % (number, offset, name.encode(), value)


def _offset_of(event_id: str, number: int) -> int:
    partition, _, offset = event_id.partition("-")
    if not (partition.isascii() and partition.isdigit() and offset.isascii() and offset.isdigit() and len(offset) < 19):
        raise MalformedRequestError(f"last event id {event_id[:40]!r} is none that we sent")
    if int(partition) != number:
        raise MalformedRequestError(f"last event id {event_id[:40]!r} is one of another task")
    return int(offset)


def _in_order(values: Iterable[bytes]) -> list[bytes]:
    """By time; the same record, appended twice, once."""
    events = [(decode(value, Event), value) for value in dict.fromkeys(values)]
    events.sort(key=lambda pair: (pair[0].generation, pair[0].at))
    return [value for _, value in events]


def document(task_id: str, timeline: Timeline) -> bytes:
    """The answer to ``GET /api/tasks/{id}/timeline``."""
    return (
        b'{"id":'
        + msgspec.json.encode(task_id)
        + b',"complete":'
        + (b"true" if timeline.complete else b"false")
        + b',"events":['
        + b",".join(timeline.events)
        + b"]}"
    )
