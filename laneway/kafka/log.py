"""The log as ingest appends to it: quickly where the cluster is plain, by the general client where it is not."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Protocol

from laneway.kafka.appender import Appended, LogAppender
from laneway.kafka.producer import OutgoingRecord, RecordMetadata, RecordProducer
from laneway.kafka.wire import EncodedRecord, read_body
from schemas.errors import BrokerUnavailableError
from schemas.settings import Settings


class Log(Protocol):
    """Takes records and tells where they lie; see ``LogAppender`` for what holds."""

    def expect(self, topics: Iterable[str]) -> None:
        """Learn of topics ahead of the first record."""

    def send(self, records: Sequence[EncodedRecord]) -> "asyncio.Future[Appended]":
        """Append records."""

    async def close(self, *, within: float = 10.0) -> None:
        """Wait until what was sent is answered, and stop."""


def open_log(settings: Settings, client_id: str, *, delivery_timeout: float) -> Log:
    """The quickest way to append that the settings allow.

    ``LogAppender`` speaks to brokers without encryption or authentication. Whoever sets options of librdkafka's gets
    librdkafka, which knows them all.
    """
    if settings.kafka.client_options:
        return ProducerLog(settings, client_id, delivery_timeout=delivery_timeout)
    return LogAppender(settings, client_id, delivery_timeout=delivery_timeout)


class ProducerLog:
    """``RecordProducer`` as a ``Log``."""

    def __init__(self, settings: Settings, client_id: str, *, delivery_timeout: float) -> None:
        self._producer = RecordProducer(settings, client_id, delivery_timeout=delivery_timeout, linger_ms=1.0)
        self._loop = asyncio.get_running_loop()
        self._timeout = delivery_timeout

    def expect(self, topics: Iterable[str]) -> None:
        """Nothing: librdkafka learns with the first record."""

    def send(self, records: Sequence[EncodedRecord]) -> "asyncio.Future[Appended]":
        """Append records."""
        outgoing: list[OutgoingRecord] = []
        for topic, partition, body in records:
            key, value, headers = read_body(body)
            outgoing.append(OutgoingRecord(topic, partition, key, value, headers))
        sent = self._producer.send(outgoing)
        answer: asyncio.Future[Appended] = self._loop.create_future()
        late = self._loop.call_later(self._timeout, self._expire, answer)

        def settle(done: "asyncio.Future[list[RecordMetadata]]") -> None:
            late.cancel()
            error = done.exception()
            if answer.done():
                return
            if error is not None:
                answer.set_exception(error)
                return
            last = {
                (record.topic, where.partition): where.offset
                for record, where in zip(records, done.result(), strict=True)
            }
            answer.set_result(Appended(last))

        sent.add_done_callback(settle)
        return answer

    def _expire(self, answer: "asyncio.Future[Appended]") -> None:
        # librdkafka looks at its time-outs once a second only.
        if not answer.done():
            answer.set_exception(BrokerUnavailableError(f"not acknowledged: nothing heard in {self._timeout:g} s"))

    async def close(self, *, within: float = 10.0) -> None:
        """Wait until what was sent is answered, and stop."""
        await self._producer.close(within=within)
