"""Finding the records of one key in a partition, without an index: by the times between which they lie."""

import asyncio
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta
from queue import Empty, SimpleQueue
from typing import Final, NamedTuple

from confluent_kafka import Consumer, KafkaException, TopicPartition

from laneway.kafka.clients import message_headers, reader_config
from laneway.kafka.reading import records_until
from schemas.errors import BrokerUnavailableError
from schemas.headers import TRACEPARENT, header
from schemas.settings import Settings

_AT_ONCE: Final = 3
_TIMEOUT: Final = 5.0
_AROUND: Final = timedelta(seconds=10)


class FoundRecord(NamedTuple):
    """A record of the key."""

    offset: int
    value: bytes
    traceparent: bytes | None
    """W3C trace context, where the record has one."""


class Found(NamedTuple):
    """What a scan came upon."""

    records: list[FoundRecord]
    """In the order of the log."""
    complete: bool
    """Whether all between the times was there and was read; else only what lies around the moments, or is left."""


class KeyScanner:
    """Reads stretches of a topic for the records of a key; a few scans at once, the others wait.

    Blocking: never; the reads happen in threads of its own, with consumers that are kept.
    """

    def __init__(self, settings: Settings, topic: str, client_id: str) -> None:
        self._topic = topic
        self._config = {
            **reader_config(settings, client_id, "scan"),
            "auto.offset.reset": "earliest",
            "fetch.wait.max.ms": 2,
            "queued.max.messages.kbytes": 8_192,
        }
        self._threads = ThreadPoolExecutor(_AT_ONCE, client_id)
        self._idle: SimpleQueue[Consumer] = SimpleQueue()

    async def read(
        self,
        number: int,
        key: bytes,
        since: datetime | int,
        until: datetime | None,
        moments: Sequence[datetime],
        most: int,
        *,
        topic: str | None = None,
    ) -> Found:
        """The records of ``key`` in partition ``number``.

        Args:
            number: the partition.
            key: theirs.
            since: broker time, or offset, of the first one, or earlier.
            until: broker time after the last one; ``None`` for the end of the log.
            moments: when something happened: where more than ``most`` records lie in between, only what lies around
                these is read.
            most: records that are read through.
            topic: another one than the scanner's own.

        Raises:
            BrokerUnavailableError: the broker cannot tell now.
        """
        asked = (topic or self._topic, number, key, since, until, moments, most)
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._read, *asked)

    def close(self) -> None:
        """Let go of the consumers. Blocking: until what is under way has ended."""
        self._threads.shutdown(cancel_futures=True)
        while True:
            try:
                self._idle.get_nowait().close()
            except Empty:
                return

    def _read(
        self,
        topic: str,
        number: int,
        key: bytes,
        since: datetime | int,
        until: datetime | None,
        moments: Sequence[datetime],
        most: int,
    ) -> Found:
        with self._consumer(topic) as consumer:
            low, high = consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=_TIMEOUT)

            def at(moment: datetime) -> int:
                asked = TopicPartition(topic, number, int(moment.timestamp() * 1000))
                offset = consumer.offsets_for_times([asked], timeout=_TIMEOUT)[0].offset
                return offset if offset >= 0 else high

            first = max(low, since) if isinstance(since, int) else at(since)
            end = high if until is None else at(until)
            # Of what retention has taken nobody tells: where the log begins with what was asked for, more may have
            # been there.
            there = since >= low if isinstance(since, int) else low == 0 or first > low
            whole = end - first <= most
            stretches = (
                [(first, end)] if whole else _joined([(at(each - _AROUND), at(each + _AROUND)) for each in moments])
            )
            found = [
                found
                for each in stretches
                for found in self._scan(consumer, topic, number, key, max(each[0], first), each[1])
            ]
            return Found(found, whole and there)

    @staticmethod
    def _scan(consumer: Consumer, topic: str, number: int, key: bytes, first: int, end: int) -> list[FoundRecord]:
        return [
            FoundRecord(record.offset() or 0, record.value() or b"", header(message_headers(record), TRACEPARENT))
            for record in records_until(consumer, topic, number, first, end)
            if record.key() == key
        ]

    @contextmanager
    def _consumer(self, topic: str) -> Iterator[Consumer]:
        try:
            consumer = self._idle.get_nowait()
        except Empty:
            consumer = Consumer(self._config)
        try:
            yield consumer
        except (KafkaException, TimeoutError) as error:
            # One that saw its broker go may ask the wrong one for ever.
            consumer.close()
            raise BrokerUnavailableError(f"{topic} cannot be read: {error}") from error
        except BaseException:
            consumer.close()
            raise
        else:
            self._idle.put(consumer)


def _joined(stretches: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The same without overlaps, in order."""
    joined: list[tuple[int, int]] = []
    for first, end in sorted(stretches):
        if joined and first <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((first, end))
    return joined
