"""The log as ingest and workers append to it: quickly where the cluster is plain, by the general client where not."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Final, Protocol

from laneway.kafka.appender import Appended, LogAppender
from laneway.kafka.producer import RecordProducer
from laneway.kafka.records import OutgoingRecord, RecordMetadata, RecordSink, Then
from laneway.kafka.wire import EncodedRecord, encoded_record, read_body
from schemas.errors import BrokerUnavailableError, LanewayError
from schemas.settings import Settings

_WORKER_PACE: Final = 0.003
_BUSY_WORKER_PACE: Final = 0.05
"""Workers write two bursts for each task: what ended, then what follows from it. Of a busy one few tasks would share a
burst otherwise, and brokers spend more on them than handlers do."""


class Log(Protocol):
    """Takes records and tells where they lie; see ``LogAppender`` for what holds."""

    def expect(self, topics: Iterable[str]) -> None:
        """Learn of topics ahead of the first record."""

    def send(self, records: Sequence[EncodedRecord], *, urgent: bool = False) -> "asyncio.Future[Appended]":
        """Append records, soon or at once."""

    @property
    def failures(self) -> int:
        """Calls of ``send`` that were refused or not acknowledged in time."""

    async def close(self, *, within: float = 10.0) -> None:
        """Wait until what was sent is answered, and stop."""


class CountingSink(RecordSink, Protocol):
    """A sink that knows what it could not append."""

    @property
    def failures(self) -> int:
        """Calls that were refused or not acknowledged in time."""


def open_log(settings: Settings, client_id: str, *, delivery_timeout: float) -> Log:
    """The quickest way to append that the settings allow.

    ``LogAppender`` speaks to brokers without encryption or authentication. Whoever sets options of librdkafka's gets
    librdkafka, which knows them all.
    """
    if settings.kafka.client_options:
        return ProducerLog(settings, client_id, delivery_timeout=delivery_timeout)
    return LogAppender(settings, client_id, delivery_timeout=delivery_timeout)


def open_sink(settings: Settings, client_id: str) -> CountingSink:
    """The same choice as ``open_log`` makes, for whole records."""
    if settings.kafka.client_options:
        return RecordProducer(settings, client_id)
    return AppenderSink(settings, client_id)


class AppenderSink:
    """``LogAppender`` for whole records, each of which is for one partition."""

    def __init__(self, settings: Settings, client_id: str) -> None:
        self._log = LogAppender(
            settings,
            client_id,
            delivery_timeout=settings.kafka.delivery_timeout,
            pace=_WORKER_PACE,
            busy_pace=_BUSY_WORKER_PACE,
        )
        self._loop = asyncio.get_running_loop()

    @property
    def failures(self) -> int:
        """Calls that were refused or not acknowledged in time."""
        return self._log.failures

    def append(self, records: Sequence[OutgoingRecord], then: Then, *, urgent: bool = False) -> None:
        """Have records appended, soon or at once, and ``then`` called on the loop when each has its answer."""
        first = records[0]
        place = (first.topic, first.partition)

        def answered(sent: "asyncio.Future[Appended]") -> None:
            error = sent.exception()
            if error is None:
                then(None, sent.result().last[place])
            elif isinstance(error, LanewayError):
                then(error, -1)
            else:
                raise error

        sent = self._log.send([encoded_record(*record) for record in records], urgent=urgent)
        sent.add_done_callback(answered)

    def send(self, records: Sequence[OutgoingRecord]) -> "asyncio.Future[list[RecordMetadata]]":
        """Have records appended; the future tells where the last of each partition lies."""
        future: asyncio.Future[list[RecordMetadata]] = self._loop.create_future()

        def answered(sent: "asyncio.Future[Appended]") -> None:
            error = sent.exception()
            if future.done():  # whoever waited was cancelled
                return
            if error is not None:
                future.set_exception(error)
            else:
                last = sent.result().last
                future.set_result(
                    [RecordMetadata(each.partition, last[each.topic, each.partition]) for each in records]
                )

        self._log.send([encoded_record(*record) for record in records]).add_done_callback(answered)
        return future

    async def close(self, *, within: float = 10.0) -> None:
        """Wait until what was sent is answered, and stop."""
        await self._log.close(within=within)


class ProducerLog:
    """``RecordProducer`` as a ``Log``."""

    def __init__(self, settings: Settings, client_id: str, *, delivery_timeout: float) -> None:
        self._producer = RecordProducer(settings, client_id, delivery_timeout=delivery_timeout, linger_ms=1.0)
        self._loop = asyncio.get_running_loop()
        self._timeout = delivery_timeout

    @property
    def failures(self) -> int:
        """Calls of ``send`` that were refused or not acknowledged in time."""
        return self._producer.failures

    def expect(self, topics: Iterable[str]) -> None:
        """Nothing: librdkafka learns with the first record."""

    def send(self, records: Sequence[EncodedRecord], *, urgent: bool = False) -> "asyncio.Future[Appended]":
        """Append records; librdkafka knows no urgent ones, each lingers a millisecond."""
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
