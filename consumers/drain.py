"""From a type's outcomes to a sink, as a member of a group."""

import contextlib
import time
from collections.abc import Callable
from datetime import datetime
from typing import Final, NamedTuple

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from consumers.reader import HOPELESS, Start, partitions_of
from consumers.sinks.sink import Part, Sink
from laneway.kafka.clients import client_config
from schemas.errors import BrokerUnavailableError, ConfigurationError, SinkFencedError, SinkUnavailableError
from schemas.settings import Settings
from schemas.topics import POSITION_IN_SINK, position

log = structlog.get_logger(__name__)

_POLL_SECONDS: Final = 0.1
_ASK_SECONDS: Final = 15.0
_CONSUMED: Final = 1_000
_FIRST_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 15.0
_TELL_EVERY: Final = 1.0
_MOST_BYTES: Final = 32 * 1024 * 1024
"""Of a batch: what a sink is given at once, and all that waits here."""


class Progress(NamedTuple):
    """How a drain stands."""

    rows: int
    """Written since it began."""
    refused: int
    """Records set aside since it began."""
    lag: int | None
    """Outcomes in its partitions that are not written; ``None`` before it knows."""
    partitions: int
    """How many of the topic are its own now."""
    waiting: str | None
    """Why it waits, where it does."""


class Drain:
    """Writes outcomes to a sink, each exactly once.

    Delivery: the sink keeps the position of each partition in the same step as the rows, and that position is where
        reading begins; the group's offsets in Kafka follow it for those who look at lag, and nothing is read from them.
        A kill at any moment neither loses nor repeats. The sink knows who claimed a partition last; what an earlier
        owner still holds is refused.
    Ordering: rows of a partition are written in the order of the log.
    Blocking: ``run`` does. It keeps the membership while a sink is away, at most 15 seconds from one try to the next.

    Args:
        topic: full name of the results.
        group: full name of the group. Each sink needs one of its own.
        sink: where to.
        start: where to begin in partitions of which the sink has no position.
        follow: ``False`` ends once the present end is written.
        settings: say which cluster.
        tell: called about once a second, and at the end.
    """

    def __init__(
        self,
        topic: str,
        group: str,
        sink: Sink,
        *,
        start: Start,
        follow: bool,
        settings: Settings,
        tell: Callable[[Progress], None],
    ) -> None:
        self._topic = topic
        self._sink = sink
        self._start = start
        self._follow = follow
        self._settings = settings
        self._tell = tell
        self._stopping = False
        self._assigned: set[int] | None = None
        self._unclaimed: set[int] = set()
        self._next: dict[int, int] = {}
        """Of partitions that are claimed: the first offset that is not written."""
        self._batch: dict[int, Part] = {}
        self._records = 0
        self._bytes = 0
        self._since = 0.0
        self._at_end: set[int] = set()
        self._rows = 0
        self._refused = 0
        self._waiting: str | None = None
        self._retry_at = 0.0
        self._pause = _FIRST_PAUSE
        self._told_at = 0.0
        self._consumer = Consumer(
            {
                **client_config(settings, "laneway-sink"),
                "group.id": group,
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "auto.offset.reset": "error",
                # All partitions are given back at each rebalance and claimed anew: the sink's word is where they begin.
                "partition.assignment.strategy": "range",
                "enable.partition.eof": True,
                "session.timeout.ms": int(settings.worker.session_timeout * 1000),
                "queued.max.messages.kbytes": 32 * 1024,
            }
        )

    def stop(self) -> None:
        """End soon: what came in whole is written first. Safe from a signal handler."""
        self._stopping = True

    def run(self) -> Progress:
        """Write until the end, or until ``stop``.

        Raises:
            ConfigurationError: there is no such topic, or the sink's position is of another log.
            BrokerUnavailableError: no broker answers at the start, or it refuses this reader.
            SinkError: the sink refuses.
        """
        try:
            partitions_of(self._consumer, self._topic, self._settings)
            self._consumer.subscribe([self._topic], on_assign=self._gain, on_revoke=self._lose, on_lost=self._lose)
            while not self._stopping and not self._caught_up():
                self._step()
            self._flush()
        except KafkaException as error:
            cause: KafkaError = error.args[0]
            raise BrokerUnavailableError(f"reading {self._topic}: {cause.str()} ({cause.name()})") from error
        finally:
            # Before the group hears of it: the next owner may claim at once.
            self._sink.close()
            self._consumer.close()
        progress = self._progress()
        self._tell(progress)
        return progress

    def _step(self) -> None:
        if self._waiting is None:
            # Asked for no more than fits, so that nothing is taken that cannot be kept.
            room = min(_CONSUMED, self._sink.most_rows - self._records)
            for message in self._consumer.consume(room, _POLL_SECONDS):
                self._receive(message)
        else:
            # Everything is unassigned meanwhile: this serves the group alone.
            self._fail(self._consumer.poll(_POLL_SECONDS))
        if time.monotonic() >= self._retry_at:
            self._tend()
        if time.monotonic() - self._told_at >= _TELL_EVERY:
            self._told_at = time.monotonic()
            self._tell(self._progress())

    def _tend(self) -> None:
        """Claim what is not claimed, write what is due; wait where the sink is away."""
        try:
            self._claim()
            due = self._records >= self._sink.most_rows or self._bytes >= _MOST_BYTES
            old = self._records and time.monotonic() - self._since >= self._sink.linger
            idle = not self._follow and self._assigned is not None and self._at_end >= self._assigned
            if due or old or (self._records and idle):
                self._write()
        except SinkFencedError as error:
            log.warning(
                "a partition was taken over; what is not written of it is left to its new owner", why=str(error)
            )
            self._batch.pop(error.partition, None)
            self._next.pop(error.partition, None)
            self._unclaimed.add(error.partition)
            self._count()
            self._wait(str(error))
        except SinkUnavailableError as error:
            log.warning("the sink is away; trying again", why=str(error), seconds=self._pause)
            self._wait(str(error))
        except KafkaException as error:
            if error.args[0].code() in HOPELESS or error.args[0].fatal():
                raise
            log.warning("the broker does not tell where to begin; trying again", why=error.args[0].str())
            self._wait(error.args[0].str())
        else:
            if self._waiting is not None:
                log.info("the sink is back")
                self._waiting, self._pause = None, _FIRST_PAUSE
                self._place()

    def _wait(self, why: str) -> None:
        if self._waiting is None:
            self._consumer.assign([])
        self._waiting = why
        self._retry_at = time.monotonic() + self._pause
        self._pause = min(self._pause * 2, _LONGEST_PAUSE)

    def _flush(self) -> None:
        """Write what is whole before the end; once, since whoever stops us does not want to wait."""
        if not self._records:
            return
        try:
            self._write()
        except (SinkFencedError, SinkUnavailableError) as error:
            log.warning("not written before the end; the next run begins there", records=self._records, why=str(error))

    def _receive(self, message: Message) -> None:
        error, partition = message.error(), message.partition()
        if error is not None:
            if error.code() == KafkaError._PARTITION_EOF and partition is not None:
                self._at_end.add(partition)
            else:
                self._fail(message)
            return
        offset = message.offset()
        if partition is None or offset is None or partition not in self._next:
            return
        self._at_end.discard(partition)
        if not self._records:
            self._since = time.monotonic()
        value = message.value()
        self._batch.setdefault(partition, Part()).add(partition, offset, value)
        self._records += 1
        self._bytes += len(value or b"")

    def _fail(self, message: Message | None) -> None:
        error = None if message is None else message.error()
        if error is None or error.code() == KafkaError._PARTITION_EOF:
            return
        if error.code() == KafkaError._AUTO_OFFSET_RESET:
            where = f"{self._topic}-{message.partition() if message else '?'}"
            raise ConfigurationError(
                where, error.str(), "a log that still holds the position; read it again from --from"
            )
        if error.code() in HOPELESS or error.fatal():
            raise KafkaException(error)
        log.warning("reading goes on after an error", topic=self._topic, error=error.str())

    def _claim(self) -> None:
        if not self._unclaimed:
            return
        for partition in sorted(self._unclaimed):
            kept = self._sink.claim(partition)
            self._next[partition] = begin = self._begin(partition, kept)
            if kept is None and begin > 0:
                # Kept at once: whoever comes next must not begin at a later "latest".
                self._sink.write({partition: Part(begin)})
            self._unclaimed.discard(partition)
        if self._waiting is None:
            self._place()

    def _begin(self, partition: int, kept: int | None) -> int:
        """Where to read on: the sink's position held against what the log has, else where to start."""
        place = TopicPartition(self._topic, partition)
        if kept is None:
            return self._started(place)
        first, end = self._consumer.get_watermark_offsets(place, timeout=_ASK_SECONDS)
        if kept > end:
            raise ConfigurationError(
                position(self._topic, partition, kept),
                f"the sink's position, beyond the end of the log at {end}",
                "the log that the sink was filled from; for another one take another table or folder",
            )
        if kept < first:
            log.error(
                "retention has removed outcomes before they were read",
                position=position(self._topic, partition, kept),
                lost=first - kept,
            )
        return max(kept, first)

    def _started(self, place: TopicPartition) -> int:
        if isinstance(self._start, datetime):
            at = int(self._start.timestamp() * 1000)
            (found,) = self._consumer.offsets_for_times(
                [TopicPartition(place.topic, place.partition, at)], timeout=_ASK_SECONDS
            )
            if found.offset >= 0:
                return int(found.offset)
        first, end = self._consumer.get_watermark_offsets(place, timeout=_ASK_SECONDS)
        if self._start == "earliest":
            return int(first)
        if not isinstance(self._start, int):  # the end, or a time after it
            return int(end)
        return min(max(int(self._start), first), end)

    def _place(self) -> None:
        """Read every claimed partition on from what is written or lies in the batch."""
        self._at_end.clear()
        self._consumer.assign(
            [
                TopicPartition(
                    self._topic, each, self._batch[each].next_offset if each in self._batch else self._next[each]
                )
                for each in sorted(self._next)
            ]
        )

    def _write(self) -> None:
        batch = self._batch
        refused = sum(len(part.refused) for part in batch.values())
        self._rows += self._sink.write(batch)
        self._refused += refused
        for partition, part in batch.items():
            self._next[partition] = part.next_offset
        self._batch = {}
        self._count()
        if refused:
            log.warning("records set aside: they are no outcomes", topic=self._topic, records=refused)
        # For those who look at lag; should it fail, the sink's position still stands.
        places = [
            TopicPartition(self._topic, each, self._next[each], metadata=POSITION_IN_SINK) for each in sorted(batch)
        ]
        with contextlib.suppress(KafkaException):
            self._consumer.commit(offsets=places, asynchronous=True)

    def _count(self) -> None:
        self._records = sum(len(part.rows) + len(part.refused) for part in self._batch.values())
        if not self._records:
            self._bytes = 0

    def _caught_up(self) -> bool:
        return (
            not self._follow
            and self._assigned is not None
            and not self._unclaimed
            and not self._records
            and self._at_end >= self._assigned
        )

    def _progress(self) -> Progress:
        lag: int | None = 0 if self._assigned else None
        for partition, offset in self._next.items():
            try:
                first, end = self._consumer.get_watermark_offsets(TopicPartition(self._topic, partition), cached=True)
            except (KafkaException, RuntimeError):  # closed by now
                return Progress(self._rows, self._refused, None, len(self._next), self._waiting)
            if end < 0 or lag is None:
                lag = None
            else:
                lag += max(0, end - max(first, offset))
        return Progress(self._rows, self._refused, lag, len(self._next), self._waiting)

    def _gain(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._assigned = {each.partition for each in partitions}
        self._unclaimed = set(self._assigned)
        self._retry_at = 0.0
        # Nothing is read before the sink has said from where.
        consumer.assign([])

    def _lose(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        # What lies in the batch was written by nobody: the next owner reads it again.
        self._sink.release([each.partition for each in partitions] or list(self._next))
        self._assigned = None
        self._unclaimed.clear()
        self._next.clear()
        self._batch.clear()
        self._count()
        self._at_end.clear()
        consumer.unassign()
