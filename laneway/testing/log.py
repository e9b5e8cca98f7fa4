"""A log in memory, with what is to be known of it."""

import asyncio
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from laneway.kafka.records import OutgoingRecord, RecordMetadata, Then
from laneway.testing.crashes import Crashes
from schemas import codec
from schemas.headers import Headers
from schemas.status import RANK, State, Status, supersedes
from schemas.suspect import Suspect
from schemas.task import CALLBACK_TYPE
from schemas.topics import Topics
from streams.clock import Clock
from streams.suspects import read_suspect


class StoredRecord(NamedTuple):
    """A record of a partition."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers


class MemoryLog:
    """Every topic, in memory.

    Args:
        topics: their names.
        clock: what records are stamped by.
        appended: called with each record, in its order, on whichever thread it was appended.
    """

    def __init__(self, topics: Topics, clock: Clock, appended: Callable[[StoredRecord], None]) -> None:
        self._topics = topics
        self._clock = clock
        self._appended = appended
        self._partitions: defaultdict[tuple[str, int], list[StoredRecord]] = defaultdict(list)
        self._lock = threading.Lock()
        self.statuses: dict[str, Status] = {}
        """The furthest of each task."""
        self.unfinished: set[str] = set()
        """Tasks that have no final state."""

    def append(self, records: Iterable[OutgoingRecord]) -> list[int]:
        """Append records; answers their offsets."""
        offsets = []
        with self._lock:
            for topic, number, key, value, headers in records:
                partition = self._partitions[topic, number]
                stamp = int(self._clock().timestamp() * 1000)
                record = StoredRecord(topic, number, len(partition), stamp, key, value, headers)
                partition.append(record)
                offsets.append(record.offset)
                if topic == self._topics.status:
                    self._learn(codec.decode(value, Status))
                self._appended(record)
        return offsets

    def read(self, topic: str, number: int, offset: int = 0) -> Sequence[StoredRecord]:
        """Records of a partition, from an offset on."""
        return self._partitions[topic, number][offset:]

    def end(self, topic: str, number: int) -> int:
        """Offset of the next record of a partition."""
        return len(self._partitions[topic, number])

    def moved_on(self, number: int) -> dict[str, Status]:
        """What a new owner of a lane's partition has to know: see ``streams.markers``."""
        found: dict[str, Status] = {}
        for record in self.read(self._topics.status, number):
            status = codec.decode(record.value, Status)
            if RANK[status.state] >= RANK[State.RUNNING] and supersedes(status, found.get(status.id)):
                found[status.id] = status
        return found

    def suspects(self) -> dict[str, Suspect]:
        """Suspects of a crash by task id."""
        found: dict[str, Suspect] = {}
        for (topic, _), records in list(self._partitions.items()):
            if topic == self._topics.suspects:
                for record in records:
                    suspect = read_suspect(record.value) if record.value is not None else None
                    if suspect is not None:
                        found[suspect.id] = suspect
                    else:
                        found.pop((record.key or b"").decode(), None)
        return found

    def _learn(self, status: Status) -> None:
        if supersedes(status, self.statuses.get(status.id)):
            self.statuses[status.id] = status
            if status.state.final:
                self.unfinished.discard(status.id)
            elif status.type != CALLBACK_TYPE:  # nothing posts it here
                self.unfinished.add(status.id)


class ProcessSink:
    """The log as one worker process appends to it: until that process is dead, and with crashes on the way.

    Args:
        log: of the sandbox.
        topics: their names.
        loop: of the sandbox.
        crashes: which were asked for.
        dead: whether the process is.
        crash: ends the process.
        written: called after records were appended.
    """

    def __init__(
        self,
        log: MemoryLog,
        topics: Topics,
        loop: asyncio.AbstractEventLoop,
        crashes: Crashes,
        dead: Callable[[], bool],
        crash: Callable[[], None],
        written: Callable[[], None],
    ) -> None:
        self._log = log
        self._status_topic = topics.status
        self._asides = frozenset({topics.control, topics.cancellations, topics.suspects, topics.schedules})
        self._loop = loop
        self._crashes = crashes
        self._dead = dead
        self._crash = crash
        self._written = written

    def append(self, records: Sequence[OutgoingRecord], then: Then, *, urgent: bool = False) -> None:
        """Append records, unless the process is dead, or dies of it."""
        if self._dead():
            return
        first = records[0]
        task_id = (first.key or b"").decode()
        told = codec.decode(first.value, Status).state if first.topic == self._status_topic else None
        if told is not State.RUNNING and told is not None and self._crashes.strikes(task_id, "before_status"):
            self._crash()
            return
        offsets = self._log.append(records)
        if first.topic in self._asides:  # no part of a step
            told = State.RUNNING
        if told is not State.RUNNING and self._crashes.strikes(task_id, "after_status" if told else "after_result"):
            self._crash()
            return
        self._written()
        self._loop.call_soon(self._answer, then, offsets[0])

    def send(self, records: Sequence[OutgoingRecord]) -> "asyncio.Future[list[RecordMetadata]]":
        """Append records, unless the process is dead."""
        future: asyncio.Future[list[RecordMetadata]] = self._loop.create_future()
        if not self._dead():
            offsets = self._log.append(records)
            future.set_result(
                [RecordMetadata(record.partition, at) for record, at in zip(records, offsets, strict=True)]
            )
        return future

    async def close(self, *, within: float = 10.0) -> None:
        """Nothing is ever left to be sent."""

    def _answer(self, then: Then, offset: int) -> None:
        if not self._dead():
            then(None, offset)
