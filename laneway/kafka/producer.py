"""The one producer of a process."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

import structlog
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from laneway.kafka.clients import client_config
from laneway.kafka.records import OutgoingRecord, RecordMetadata, Then
from schemas.errors import BrokerUnavailableError, LanewayError, RecordTooLargeError
from schemas.settings import Settings
from schemas.topics import MAX_RECORD_BYTES

log = structlog.get_logger(__name__)

_TOO_LARGE: Final = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE})
_PACE: Final = 0.003
"""Seconds between two bursts of records: what a lone record need not wait for, many share. Small requests cost brokers
and readers far more than the records in them."""
_LOOK_EVERY: Final = 0.001
_LOOK_RARELY: Final = 0.02
_SLOW_AFTER: Final = 500
"""Fruitless looks in a row after which the broker counts as away."""


class _Group:
    """Records sent together; over once each has its answer."""

    __slots__ = ("error", "first", "left", "over", "then")

    def __init__(self, left: int, then: Then, over: "deque[_Group]") -> None:
        self.left = left
        self.then = then
        self.over = over
        self.first = -1
        self.error: KafkaError | None = None

    def call_back(self, index: int) -> Callable[[KafkaError | None, Message], None]:
        """What takes the answer for the record at ``index``."""
        return self.answered if index else self.answered_first

    def answered_first(self, error: KafkaError | None, message: Message) -> None:
        """The answer for the first record."""
        self.first = message.offset() or 0
        self.answered(error, message)

    def answered(self, error: KafkaError | None, message: Message) -> None:
        """The answer for any other record."""
        if error is not None and self.error is None:
            self.error = error
        self.left -= 1
        if not self.left:
            self.over.append(self)


class _NumberedGroup(_Group):
    """A group whose future tells where each of its records lies."""

    __slots__ = ("future", "offsets", "records")

    def __init__(
        self,
        records: Sequence[OutgoingRecord],
        future: "asyncio.Future[list[RecordMetadata]]",
        over: "deque[_Group]",
    ) -> None:
        super().__init__(len(records), self.resolve, over)
        self.records = records
        self.future = future
        self.offsets = [-1] * len(records)

    def call_back(self, index: int) -> Callable[[KafkaError | None, Message], None]:
        """What takes the answer for the record at ``index``."""
        return partial(self.answered_at, index)

    def answered_at(self, index: int, error: KafkaError | None, message: Message) -> None:
        """The answer for the record at ``index``."""
        self.offsets[index] = message.offset() or 0
        self.answered(error, message)

    def resolve(self, error: LanewayError | None, _: int) -> None:
        """Every record has its answer."""
        if self.future.done():  # whoever waited was cancelled
            return
        if error is not None:
            self.future.set_exception(error)
        else:
            self.future.set_result(
                [RecordMetadata(record.partition, at) for record, at in zip(self.records, self.offsets, strict=True)]
            )


class RecordProducer:
    """Appends records and tells when every in-sync replica has them.

    One idempotent confluent-kafka producer, served by the event loop itself: while answers are outstanding a timer
    looks for them each millisecond and takes all there are. A thread that polls would fight the loop for the
    interpreter with every burst. All methods belong to the loop that made it.

    Ordering: records of one partition lie in the order of the calls.
    """

    def __init__(
        self, settings: Settings, client_id: str, *, delivery_timeout: float | None = None, linger_ms: float = 0.5
    ) -> None:
        self._config: dict[str, Any] = {
            **client_config(settings, client_id),
            "enable.idempotence": True,
            "acks": "all",
            "linger.ms": linger_ms,
            "delivery.timeout.ms": int((delivery_timeout or settings.kafka.delivery_timeout) * 1000),
            "queue.buffering.max.messages": 500_000,
            "queue.buffering.max.kbytes": 262_144,
            "batch.num.messages": 10_000,
            "message.max.bytes": MAX_RECORD_BYTES,
            "compression.type": "lz4",
        }
        self._loop = asyncio.get_running_loop()
        self._producer = Producer(self._config)
        self._over: deque[_Group] = deque()
        self._unsent: deque[tuple[_Group, Sequence[OutgoingRecord]]] = deque()
        self._sending = False
        self._sent_at = 0.0
        self._outstanding = 0
        self._looking = False
        self._fruitless = 0
        self._fatal = False
        self._closed = False
        self.failures = 0
        """Calls of ``append`` and ``send`` that were refused or not acknowledged."""

    def append(self, records: Sequence[OutgoingRecord], then: Then, *, urgent: bool = False) -> None:
        """Have ``records`` appended, urgent or not, and ``then`` called on the loop when each of them has its answer.

        Delivery: at most once for each call, except that a group of which one record failed may be there in part.
        Blocking: never; ``then`` is never called from within.
        """
        self._begin(_Group(len(records), then, self._over), records)

    def send(self, records: Sequence[OutgoingRecord]) -> "asyncio.Future[list[RecordMetadata]]":
        """Have ``records`` appended; the future has where each of them lies, in their order.

        Delivery: resolved once every in-sync replica has all of them. If it raises, any of them may or may not be in
            the log.

        Raises:
            BrokerUnavailableError: (by the future) not acknowledged within the delivery time-out.
            RecordTooLargeError: (by the future) the broker does not take records of this size.
        """
        future: asyncio.Future[list[RecordMetadata]] = self._loop.create_future()
        if not records:
            future.set_result([])
            return future
        self._begin(_NumberedGroup(records, future, self._over), records)
        return future

    async def close(self, *, within: float = 10.0) -> None:
        """Wait until what was sent is answered, at most ``within`` seconds, and stop.

        Delivery: what is still unanswered then raises ``BrokerUnavailableError`` to whoever awaits it.
        """
        deadline = self._loop.time() + within
        while self._outstanding and self._loop.time() < deadline:  # noqa: ASYNC110  (answers come by polling alone)
            await asyncio.sleep(_LOOK_EVERY)
        self._producer.purge()
        await asyncio.to_thread(self._producer.flush, 1.0)
        self._closed = True
        self._tell()

    def _begin(self, group: _Group, records: Sequence[OutgoingRecord]) -> None:
        self._outstanding += 1
        self._unsent.append((group, records))
        if not self._sending:
            self._sending = True
            self._loop.call_later(max(0.0, self._sent_at + _PACE - self._loop.time()), self._send)

    def _send(self) -> None:
        """Hand everything that waits to the client."""
        self._sending = False
        self._sent_at = self._loop.time()
        if self._fatal:
            self._replace()
        produce = self._producer.produce
        unsent = self._unsent
        while unsent:
            group, records = unsent.popleft()
            left = group.left
            call_back = group.call_back
            try:
                for index, (topic, partition, key, value, headers) in enumerate(records):
                    produce(topic, value, key, partition, call_back(index), headers=headers)  # type: ignore[arg-type]  # list is invariant; ours is narrower
                    left -= 1
            except (BufferError, KafkaException) as error:
                self._refused(group, left, error)
        if not self._looking:
            self._looking = True
            self._loop.call_later(_LOOK_EVERY, self._look)

    def _look(self) -> None:
        """Take every answer that there is, and look again later while any is outstanding."""
        before = self._outstanding
        try:
            self._producer.poll(0)
            self._tell()
        finally:
            if self._outstanding and not self._closed:
                self._fruitless = 0 if self._outstanding < before else self._fruitless + 1
                self._loop.call_later(_LOOK_EVERY if self._fruitless < _SLOW_AFTER else _LOOK_RARELY, self._look)
            else:
                self._looking = False

    def _tell(self) -> None:
        over = self._over
        while over:
            group = over.popleft()
            self._outstanding -= 1
            if group.error is None:
                group.then(None, group.first)
            else:
                self.failures += 1
                # A delivery report carries the code; the flag is set on errors of the client's own call-back alone.
                self._fatal = self._fatal or group.error.code() == KafkaError._FATAL or group.error.fatal()
                group.then(_translate(group.error), -1)

    def _refused(self, group: _Group, left: int, error: BufferError | KafkaException) -> None:
        """The last ``left`` records were not taken by the client: they get no answer."""
        if isinstance(error, KafkaException):
            group.error = error.args[0]
            self._fatal = self._fatal or group.error.code() == KafkaError._FATAL
        else:
            group.error = KafkaError(KafkaError._QUEUE_FULL, "the queue of unsent records is full")
        group.left -= left
        if not group.left:
            self._over.append(group)

    def _replace(self) -> None:
        """An idempotent producer that lost its sequence is dead for good (librdkafka: "fatal"): start a new one."""
        log.error("producer replaced after a fatal error of the client")
        old, self._producer = self._producer, Producer(self._config)
        self._fatal = False
        old.purge()
        old.flush(1.0)  # nothing is left to wait for: it takes the answers of what was purged


def _translate(error: KafkaError) -> LanewayError:
    if error.code() in _TOO_LARGE:
        return RecordTooLargeError(f"the broker refuses a record of this size: {error.str()}")
    return BrokerUnavailableError(f"not acknowledged: {error.str()} ({error.name()})")
