"""Following a compacted topic from its start: what every process that keeps the topic in memory needs."""

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

import structlog
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition

from laneway.kafka.clients import client_config, failure
from schemas.settings import Settings

log = structlog.get_logger(__name__)

_BATCH: Final = 1_000
_LOOK_EVERY: Final = 0.2
_BACKOFF: Final = 1.0


class FollowedRecord(NamedTuple):
    """A record of the topic."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None


class TopicFollower:
    """Gives every record of a topic, from its start on, to whoever keeps it.

    All methods belong to the loop that made it, and ``on_records`` is called there; a thread reads.

    Ordering: records of a partition come in their order, each once, also when the broker was away meanwhile.

    Args:
        settings: of the process.
        topic: with its prefix.
        on_records: gets the records, in batches.
    """

    def __init__(self, settings: Settings, topic: str, on_records: Callable[[Sequence[FollowedRecord]], None]) -> None:
        self._config = {
            **client_config(settings, f"laneway-follower-{topic}"),
            # The client wants one; nothing is committed, and nobody joins it.
            "group.id": f"{topic}.followers",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "enable.partition.eof": True,
            "fetch.wait.max.ms": 100,
        }
        self._topic = topic
        self._on_records = on_records
        self._loop = asyncio.get_running_loop()
        self._applied = dict.fromkeys(range(settings.kafka.partitions), -1)
        self._moved = asyncio.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"follower of {topic}", daemon=True)
        # For the thread alone: where it goes on after it was cut off.
        self._read = dict.fromkeys(self._applied, OFFSET_BEGINNING)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    async def close(self) -> None:
        """Stop reading."""
        self._stopping.set()
        await asyncio.to_thread(self._thread.join)

    @property
    def caught_up(self) -> bool:
        """Whether every partition has once been read to the end that it had then."""
        return min(self._applied.values()) >= 0

    async def reached(self, ends: Mapping[int, int]) -> None:
        """Wait until every record before these offsets, by partition, was given on. Whoever waits sets a time-out."""
        while any(self._applied[number] < end for number, end in ends.items()):
            await self._moved.wait()

    def _run(self) -> None:
        while not self._stopping.is_set():
            consumer = Consumer(self._config)
            try:
                consumer.assign([TopicPartition(self._topic, number, at) for number, at in self._read.items()])
                while not self._stopping.is_set():
                    self._turn(consumer)
            except KafkaException as error:
                log.warning("reading starts again: the broker is in trouble", topic=self._topic, said=str(error))
                self._stopping.wait(_BACKOFF)
            finally:
                consumer.close()

    def _turn(self, consumer: Consumer) -> None:
        first = consumer.poll(_LOOK_EVERY)
        if first is None:
            return
        records: list[FollowedRecord] = []
        applied: dict[int, int] = {}
        for message in (first, *consumer.consume(_BATCH, timeout=0)):
            number, offset = message.partition() or 0, message.offset() or 0
            error = failure(message)
            if error is None:
                records.append(FollowedRecord(number, offset, message.key(), message.value()))
                applied[number] = self._read[number] = offset + 1
            elif error.code() == KafkaError._PARTITION_EOF:
                # Compaction may have taken the very last records.
                applied[number] = self._read[number] = offset
        if applied and not self._stopping.is_set():
            self._loop.call_soon_threadsafe(self._give, records, applied)

    def _give(self, records: list[FollowedRecord], applied: dict[int, int]) -> None:
        if records:
            self._on_records(records)
        self._applied.update(applied)
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()
