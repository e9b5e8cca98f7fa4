"""Compacted topics that a process knows by heart: read from their beginning, and followed."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import timedelta
from typing import Final

import structlog
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from laneway.kafka.clients import failure, reader_config
from laneway.kafka.ends import LogEnds
from laneway.kafka.offsets import Place
from laneway.kafka.records import TableRecord
from schemas.errors import BrokerUnavailableError
from schemas.settings import Settings

log = structlog.get_logger(__name__)

_BATCH: Final = 1_000
_POLL: Final = 0.2
_TRY_AGAIN_AFTER: Final = 1.0


class TableFollower:
    """Follows topics in a thread of its own and hands their records to ``take`` on the loop that made it.

    Ordering: as in each partition. Delivery: every record at least once; after trouble with the broker some again.

    Args:
        settings: of the process.
        topics: names, each with as many partitions as the settings say.
        take: called on the loop with each record.
        client_id: of the consumer.
    """

    def __init__(
        self, settings: Settings, topics: Sequence[str], take: Callable[[TableRecord], None], client_id: str
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._take = take
        self._places = [(topic, number) for topic in topics for number in range(settings.kafka.partitions)]
        self._ends = LogEnds(settings, topics)
        self._config = {
            **reader_config(settings, client_id, "table"),
            "auto.offset.reset": "earliest",
            "enable.partition.eof": True,
            "queued.max.messages.kbytes": 8_192,
        }
        self._positions: dict[Place, int] = {}
        self._moved = asyncio.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=client_id, daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    async def close(self) -> None:
        """Stop reading."""
        self._stopping.set()
        await self._ends.close()
        if self._thread.is_alive():
            await asyncio.to_thread(self._thread.join)

    @property
    def caught_up(self) -> bool:
        """Whether every partition has once been read to the end that it had then."""
        return len(self._positions) == len(self._places)

    @property
    def alive(self) -> bool:
        """Whether it still reads."""
        return self._thread.is_alive()

    async def current(self, within: timedelta, numbers: Mapping[str, Collection[int]] | None = None) -> None:
        """Wait until every record that was there at the call has been taken.

        Args:
            within: how long at most.
            numbers: of these topics only these partitions.

        Raises:
            BrokerUnavailableError: not in time, or the broker does not answer.
        """
        deadline = time.monotonic() + within.total_seconds()
        try:
            async with asyncio.timeout(within.total_seconds()):
                found = await self._ends.ask()
        except TimeoutError:
            raise BrokerUnavailableError("the broker does not tell in time where the log ends") from None
        only = numbers or {}
        ends = {
            (topic, number): end for (topic, number), end in found.items() if topic not in only or number in only[topic]
        }
        await self._reach(ends, deadline)

    async def reach(self, topic: str, number: int, offset: int, within: timedelta) -> None:
        """Wait until the record at ``offset`` has been taken.

        Raises:
            BrokerUnavailableError: not in time.
        """
        await self._reach({(topic, number): offset + 1}, time.monotonic() + within.total_seconds())

    async def _reach(self, ends: Mapping[Place, int], deadline: float) -> None:
        while any(self._positions.get(place, 0) < end for place, end in ends.items()):
            left = deadline - time.monotonic()
            if left <= 0:
                behind = ", ".join(sorted({topic for topic, _ in ends}))
                raise BrokerUnavailableError(f"{behind}: not read to the end in time")
            moved = self._moved
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(moved.wait(), left)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                consumer = Consumer(self._config)
                try:
                    self._follow(consumer)
                finally:
                    consumer.close()
            except KafkaException as error:
                log.warning(
                    "table read again soon", topics=sorted({topic for topic, _ in self._places}), said=str(error)
                )
                self._stopping.wait(_TRY_AGAIN_AFTER)
            except RuntimeError:  # the loop is closed: nobody listens any more
                return

    def _follow(self, consumer: Consumer) -> None:
        consumer.assign(
            [TopicPartition(*place, self._positions.get(place, OFFSET_BEGINNING)) for place in self._places]
        )
        while not self._stopping.is_set():
            first = consumer.poll(_POLL)
            if first is not None:
                taken = threading.Event()
                self._loop.call_soon_threadsafe(self._deliver, _read([first, *consumer.consume(_BATCH, 0)]), taken)
                taken.wait(_POLL)  # what the loop has not taken yet should not pile up

    def _deliver(self, read: list[tuple[TableRecord | None, Place, int]], taken: threading.Event) -> None:
        for record, place, position in read:
            if record is not None:
                try:
                    self._take(record)
                except Exception:  # the boundary of a record: whatever is wrong with it, the next one follows
                    log.exception("record not taken", topic=record.topic, partition=record.partition)
            self._positions[place] = position
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()
        taken.set()


def _read(messages: list[Message]) -> list[tuple[TableRecord | None, Place, int]]:
    """Records, or none for the end of a partition, each with where it leaves the reader.

    Raises:
        KafkaException: the client reports what it does not get over.
    """
    read: list[tuple[TableRecord | None, Place, int]] = []
    for message in messages:
        topic, number, offset = message.topic() or "", message.partition() or 0, message.offset() or 0
        error = failure(message)
        if error is None:
            record = TableRecord(topic, number, offset, message.key(), message.value())
            read.append((record, (topic, number), offset + 1))
        elif error.code() == KafkaError._PARTITION_EOF:
            # Where the log ends, which may be beyond the last record: compaction leaves gaps.
            read.append((None, (topic, number), offset))
    return read
