"""A consumer of one topic in a thread of its own."""

import threading
from collections import deque
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final, Literal, NamedTuple

import structlog
from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from laneway.kafka.clients import client_config
from schemas.errors import BrokerUnavailableError, ConfigurationError, LanewayError
from schemas.settings import Settings

log = structlog.get_logger(__name__)

Start = datetime | int | Literal["earliest", "latest"]
Offsets = Mapping[int, int]
"""Where to begin in each partition, by its number."""

_POLL_SECONDS: Final = 0.1
_ASK_SECONDS: Final = 15.0
_BATCH: Final = 500
_FULL: Final = 2_000
"""Records in the buffer above which fetching pauses; it goes on below a quarter of it."""
HOPELESS: Final = frozenset(
    {
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError._FATAL,
    }
)
"""Errors that waiting does not mend."""


class Received(NamedTuple):
    """A record, and under which assignment of its partition it came."""

    message: Message
    partition: int
    assignment: int


class TopicReader:
    """Reads a topic into a buffer, as a member of a group or on its own.

    The thread polls while a record is being worked on, so that a slow body neither loses the membership nor holds up a
    rebalance of the group.

    Delivery: ``finish`` marks a record as done; what is done is committed within a second, when a partition is given
        up, and by ``close``. Nothing else is ever committed.

    Args:
        topic: its full name.
        group: full name of the consumer group; ``None`` reads alone and commits nothing.
        start: where to begin in a partition for which the group has committed nothing. Partitions that ``Offsets``
            leaves out begin at their oldest record. The end that ``"latest"`` met is committed, so that a partition
            that changes hands before its first record leaves none out.
        follow: ``False`` ends at the present end.
        settings: say which cluster.
        wake: called from the thread whenever there is something new to see.
    """

    def __init__(
        self,
        topic: str,
        *,
        group: str | None,
        start: Start | Offsets,
        follow: bool,
        settings: Settings,
        wake: Callable[[], None],
    ) -> None:
        self.topic = self._topic = topic
        self._group = group
        self._start = start
        self._follow = follow
        self._settings = settings
        self._wake = wake
        self._consumer = Consumer(
            {
                **client_config(settings, "laneway-results"),
                "group.id": group or "laneway-alone",  # librdkafka wants one even where none is used
                "enable.auto.commit": group is not None,
                "enable.auto.offset.store": False,
                "auto.commit.interval.ms": 1_000,
                "auto.offset.reset": "earliest",
                "partition.assignment.strategy": "cooperative-sticky",
                "enable.partition.eof": True,
                "session.timeout.ms": int(settings.worker.session_timeout * 1000),
            }
        )
        self._buffer: deque[Received] = deque()
        self._assignments: dict[int, int] = {}
        self._positions: dict[int, int] = {}
        self._ends: dict[int, int] = {}
        self._marks: dict[int, tuple[int, int]] = {}
        """What is done and not yet stored: assignment and next offset of a partition."""
        self._counter = 0
        self._at_end: set[int] = set()
        self._assigned = False
        self._full = False
        self._resting: set[int] = set()
        """Partitions that are not fetched from."""
        self._left_resting: set[int] = set()
        """Partitions that were so when they went: the client may remember it."""
        self.held: frozenset[int] = frozenset()
        """Partitions of which whoever takes wants nothing more for now; what was fetched is still given out."""
        self._stopping = threading.Event()
        self._error: LanewayError | None = None
        self._ended = False
        self._thread = threading.Thread(target=self._run, name=f"read-{topic}", daemon=True)

    def begin(self) -> None:
        """Start reading."""
        self._thread.start()

    def take(self) -> Received | None:
        """The next record of a partition that is still ours, or ``None`` while there is none.

        Raises:
            LanewayError: reading ended because of it, and everything read before it was taken.
        """
        while self._buffer:
            received = self._buffer.popleft()
            if self.owns(received):
                return received
        if self._error is not None:
            raise self._error
        return None

    @property
    def ended(self) -> bool:
        """Whether everything up to the end was taken, where it was to be read no further."""
        return self._ended and not self._buffer

    def owns(self, received: Received) -> bool:
        """Whether the record's partition is still ours under the assignment that the record came by."""
        return self.still(received.partition, received.assignment)

    def still(self, partition: int, assignment: int) -> bool:
        """Whether a partition is ours, and has been ever since that assignment."""
        return self._assignments.get(partition) == assignment

    def finish(self, received: Received) -> None:
        """Mark a record, and all before it in its partition, as done, so that the group does not see them again."""
        # A partition that went to another member and came back starts from what that one committed: an older mark
        # would move it backwards.
        if not self.owns(received):
            return
        self._positions[received.partition] = (received.message.offset() or 0) + 1
        if self._group is not None:
            self._marks[received.partition] = received.assignment, (received.message.offset() or 0) + 1

    @property
    def position(self) -> dict[int, int]:
        """Offset of the first record that is not done, in each partition that is ours and has told where it stands."""
        return self._positions.copy()

    @property
    def lag(self) -> int | None:
        """Records in our partitions that are not done, as of the latest fetch; ``None`` before each has told."""
        # Copies, since the thread goes on changing them.
        position, ends, owned = self.position, self._ends.copy(), self._assignments.copy()
        if not self._assigned or not position.keys() == owned.keys() <= ends.keys():
            return None
        return sum(max(0, ends[partition] - offset) for partition, offset in position.items())

    def close(self, timeout: float = _ASK_SECONDS) -> None:
        """Commit what is done and leave the group.

        Blocking: until the broker has answered, at most ``timeout`` seconds.
        """
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(timeout)

    def request_close(self) -> None:
        """The same without waiting for it."""
        self._stopping.set()

    def _store(self) -> None:
        """Hand what is done to the client, which commits it.

        Only in the thread that polls: in any other, storing waits for a poll to end, and may wait for ever when one
        follows the other.
        """
        while self._marks:
            partition, (assignment, offset) = self._marks.popitem()
            if self._assignments.get(partition) != assignment:
                continue
            try:
                self._consumer.store_offsets(offsets=[TopicPartition(self._topic, partition, offset)])
            except KafkaException as error:  # given up this very moment: its new owner sees the record again
                log.debug("offset not stored", partition=partition, why=str(error))

    def _run(self) -> None:
        try:
            self._join()
            while not self._stopping.is_set() and not self._ended:
                self._step()
        except KafkaException as error:
            cause: KafkaError = error.args[0]
            self._error = BrokerUnavailableError(f"reading {self._topic}: {cause.str()} ({cause.name()})")
        except LanewayError as error:
            self._error = error
        finally:
            if self._ended:
                # Whoever works on the last records still marks them; the commit comes with the end of the wait.
                self._wake()
                while not self._stopping.wait(_POLL_SECONDS):
                    self._store()
                    self._consumer.poll(0)
            self._store()
            self._consumer.close()
            self._wake()

    def _join(self) -> None:
        numbers = partitions_of(self._consumer, self._topic, self._settings)
        if self._group is None:
            partitions = [TopicPartition(self._topic, partition) for partition in numbers]
            self._own(partitions)
            self._consumer.assign(self._placed(partitions))
        else:
            self._consumer.subscribe([self._topic], on_assign=self._gain, on_revoke=self._lose, on_lost=self._lose)

    def _step(self) -> None:
        self._store()
        first = self._consumer.poll(_POLL_SECONDS)
        messages = [] if first is None else [first, *self._consumer.consume(_BATCH, 0)]
        for message in messages:
            self._receive(message)
        for partition in self._assignments:
            _, end = self._consumer.get_watermark_offsets(TopicPartition(self._topic, partition), cached=True)
            if end >= 0:
                self._ends[partition] = end
        if not self._follow and self._assigned and self._at_end >= set(self._assignments):
            self._ended = True
        if messages:
            self._wake()
        self._rest()

    def _rest(self) -> None:
        """Fetch from those partitions alone of which there is room for more."""
        self._full = len(self._buffer) >= (_FULL // 4 if self._full else _FULL)
        wanted = set(self._assignments) if self._full else self._assignments.keys() & self.held
        if stop := wanted - self._resting:
            self._consumer.pause([TopicPartition(self._topic, each) for each in stop])
        if go := self._resting - wanted:
            self._consumer.resume([TopicPartition(self._topic, each) for each in go])
        self._resting = wanted

    def _receive(self, message: Message) -> None:
        error, partition = message.error(), message.partition()
        if error is None:
            if partition is not None and partition in self._assignments:
                self._at_end.discard(partition)
                self._found(partition, message.offset() or 0)
                self._buffer.append(Received(message, partition, self._assignments[partition]))
        elif error.code() == KafkaError._PARTITION_EOF:
            if partition is not None and partition in self._assignments:
                self._at_end.add(partition)
                self._found(partition, message.offset() or 0)
        elif error.code() in HOPELESS or error.fatal():
            raise KafkaException(error)
        else:
            log.warning("reading goes on after an error", topic=self._topic, error=error.str())

    def _found(self, partition: int, offset: int) -> None:
        """The first that a partition tells after it became ours is where reading it has begun."""
        if partition in self._positions:
            return
        self._positions[partition] = offset
        if self._group is not None and self._start == "latest":
            self._consumer.store_offsets(offsets=[TopicPartition(self._topic, partition, offset)])

    def _gain(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._own(partitions)
        consumer.incremental_assign(self._placed(partitions))

    def _lose(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._store()
        # The client commits what is done as it gives the partitions up. What lies in the buffer is no longer ours.
        for partition in partitions:
            self._assignments.pop(partition.partition, None)
            self._positions.pop(partition.partition, None)
            self._at_end.discard(partition.partition)
            if partition.partition in self._resting:
                self._resting.discard(partition.partition)
                self._left_resting.add(partition.partition)

    def _own(self, partitions: list[TopicPartition]) -> None:
        self._counter += 1
        self._assigned = True
        for partition in partitions:
            if partition.partition in self._left_resting:
                self._left_resting.discard(partition.partition)
                self._resting.add(partition.partition)
            self._positions.pop(partition.partition, None)
            self._assignments[partition.partition] = self._counter
            self._at_end.discard(partition.partition)

    def _placed(self, partitions: list[TopicPartition]) -> list[TopicPartition]:
        """The partitions with the offsets to begin at: what the group has committed, else where to start."""
        if self._group is None or not partitions:
            fresh, known = partitions, []
        else:
            committed = self._consumer.committed(partitions, timeout=_ASK_SECONDS)
            fresh = [TopicPartition(each.topic, each.partition) for each in committed if each.offset < 0]
            known = [each for each in committed if each.offset >= 0]
        return known + self._started(fresh)

    def _started(self, fresh: list[TopicPartition]) -> list[TopicPartition]:
        if isinstance(self._start, datetime):
            at = int(self._start.timestamp() * 1000)
            asked = [TopicPartition(each.topic, each.partition, at) for each in fresh]
            return self._consumer.offsets_for_times(asked, timeout=_ASK_SECONDS) if asked else []
        if isinstance(self._start, Mapping):
            return [
                TopicPartition(each.topic, each.partition, self._start.get(each.partition, OFFSET_BEGINNING))
                for each in fresh
            ]
        offset = {"earliest": OFFSET_BEGINNING, "latest": OFFSET_END}.get(str(self._start))
        return [
            TopicPartition(each.topic, each.partition, int(self._start) if offset is None else offset) for each in fresh
        ]


def check_start(start: Start | Offsets | None, asker: str) -> None:
    """Raises ValueError: nobody can begin there. ``asker`` is who was told to."""
    if isinstance(start, datetime) and start.tzinfo is None:
        raise ValueError(f"{asker}: start is {start}, a time without a zone; want an aware datetime")
    offsets = [start] if isinstance(start, int) else start.values() if isinstance(start, Mapping) else ()
    if any(offset < 0 for offset in offsets):
        raise ValueError(f"{asker}: start is {start}; an offset is zero or more")


def partitions_of(consumer: Consumer, topic: str, settings: Settings) -> list[int]:
    """Numbers of a topic's partitions, in order.

    Raises:
        BrokerUnavailableError: no broker answers.
        ConfigurationError: there is no such topic.
    """
    try:
        found = consumer.list_topics(topic, timeout=_ASK_SECONDS).topics[topic]
    except KafkaException as error:
        raise BrokerUnavailableError(
            f"no broker answers at {settings.bootstrap_servers}: {error.args[0].str()}"
        ) from error
    if found.error is not None:
        raise ConfigurationError(topic, found.error.str(), "a topic that is there; see `laneway topics plan`")
    return sorted(found.partitions)
