"""Suspects in the log: whoever gets the partition knows whom to run alone, whichever worker crashed."""

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

import msgspec
import structlog
from confluent_kafka import Consumer, KafkaException, TopicPartition

from laneway.kafka.clients import client_config
from laneway.kafka.log import RecordSink
from laneway.kafka.producer import OutgoingRecord
from schemas.errors import BrokerUnavailableError, TransportError
from schemas.headers import cloud_event, timestamp
from schemas.settings import Settings
from schemas.topics import Topics
from streams.reading import records_until
from streams.suspects import Suspect, Suspects, SuspectsFile, read_suspect

log = structlog.get_logger(__name__)

_TIMEOUT: Final = 10.0
_AGAIN_AFTER: Final = 0.5


class SuspectLog:
    """Tells the topic ``suspects`` of the suspects that a worker knows.

    Delivery: what could not be told is told again until it could; a suspect that nobody knows of is one that crashes
        a worker once more.
    """

    def __init__(self, settings: Settings, producer: RecordSink, worker: str) -> None:
        self._topic = Topics(settings.kafka.topic_prefix).suspects
        self._producer = producer
        self._source = f"/laneway/worker/{worker}".encode()

    async def tell(self, suspects: Iterable[Suspect], *, ended: bool = False) -> None:
        """Tell of them; ``ended`` tells that they are done with. Returns once every in-sync replica knows."""
        records = [self._record(suspect, ended=ended) for suspect in suspects]
        while records:
            try:
                await self._producer.send(records)
            except TransportError as error:
                log.warning("suspects not told yet, tried again", suspects=len(records), said=str(error))
                await asyncio.sleep(_AGAIN_AFTER)
            else:
                return

    async def take_over(self, file: SuspectsFile | None, suspects: Suspects) -> None:
        """Learn of those that the forerunner of this process left, and tell of them; before any lane is joined."""
        found = file.read() if file is not None else []
        if file is None or not found:
            return
        suspects.add(found)
        await self.tell(found)
        file.clear()
        log.info("suspects of a crash will run alone", suspects=len(found), how=found[0].how)

    def _record(self, suspect: Suspect, *, ended: bool) -> OutgoingRecord:
        event_id = f"{suspect.id}.{suspect.generation}.suspect.{suspect.crashes}{'.ended' if ended else ''}"
        headers = cloud_event("suspect", event_id, self._source, timestamp(datetime.now(UTC)))
        value = None if ended else msgspec.json.encode(suspect)
        return OutgoingRecord(self._topic, suspect.partition, suspect.id.encode(), value, headers)


class SuspectReader:
    """Reads the suspects of partitions that came to this worker.

    Blocking: all methods block; call them in one thread at a time.
    """

    def __init__(self, settings: Settings) -> None:
        topics = Topics(settings.kafka.topic_prefix)
        self._topic = topics.suspects
        self._config = {
            **client_config(settings, "laneway-suspects"),
            "group.id": f"{settings.kafka.topic_prefix}suspects",  # required by the client; never joined
            "enable.auto.commit": False,
            "fetch.wait.max.ms": 2,
            "queued.max.messages.kbytes": 1_024,
        }
        self._consumer = Consumer(self._config)

    def read(self, partitions: Iterable[int]) -> list[Suspect]:
        """All of these partitions; there is hardly ever one.

        Raises:
            BrokerUnavailableError: the broker cannot tell now.
        """
        try:
            return [suspect for number in partitions for suspect in self._read(number)]
        except (KafkaException, TimeoutError) as error:
            # One that saw its brokers go may know none of the partitions any more, and asks nobody again.
            self._consumer.close()
            self._consumer = Consumer(self._config)
            raise BrokerUnavailableError(f"suspects not read: {error}") from error

    def close(self) -> None:
        """Release the client."""
        self._consumer.close()

    def _read(self, number: int) -> list[Suspect]:
        low, high = self._consumer.get_watermark_offsets(TopicPartition(self._topic, number), timeout=_TIMEOUT)
        found: dict[bytes, Suspect] = {}
        if low >= high:
            return []
        for record in records_until(self._consumer, self._topic, number, low, high):
            key, value = record.key() or b"", record.value()
            suspect = read_suspect(value) if value is not None else None
            if suspect is not None:
                found[key] = suspect
            else:
                found.pop(key, None)
        return list(found.values())
