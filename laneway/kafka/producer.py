"""The one producer of a process."""

import asyncio
import threading
from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import Any, Final, NamedTuple

import structlog
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from laneway.kafka.clients import client_config
from schemas.errors import BrokerUnavailableError, LanewayError, RecordTooLargeError
from schemas.headers import Headers
from schemas.settings import Settings
from schemas.topics import MAX_RECORD_BYTES

log = structlog.get_logger(__name__)

_TOO_LARGE: Final = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE})


class OutgoingRecord(NamedTuple):
    """A record to be appended to the log."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: Headers


class RecordMetadata(NamedTuple):
    """Where an acknowledged record lies."""

    partition: int
    offset: int


class _Group:
    """Records sent together, and the future that resolves once each has its answer."""

    __slots__ = ("error", "future", "left", "metadata")

    def __init__(self, future: "asyncio.Future[list[RecordMetadata]]", size: int) -> None:
        self.future = future
        self.left = size
        self.metadata: list[RecordMetadata | None] = [None] * size
        self.error: LanewayError | None = None


class RecordProducer:
    """Appends records and tells when every in-sync replica has them.

    One idempotent confluent-kafka producer, a thread that polls it, and one wake-up of the event loop for each burst
    of acknowledgements: an awaited delivery costs microseconds, not a thread switch. All methods belong to the loop
    that made it.

    Ordering: records of one partition lie in the order of ``send``.
    """

    def __init__(
        self, settings: Settings, client_id: str, *, delivery_timeout: float | None = None, linger_ms: float = 2.0
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
        self._answers: deque[tuple[_Group, int, KafkaError | None, RecordMetadata]] = deque()
        self._wake_up_pending = False
        self._closing = threading.Event()
        self._fatal = threading.Event()
        self._thread = threading.Thread(target=self._poll, name=f"{client_id}-poll", daemon=True)
        self._thread.start()

    def send(self, records: Sequence[OutgoingRecord]) -> "asyncio.Future[list[RecordMetadata]]":
        """Append ``records``, in their order, and tell where they lie.

        Delivery: the future resolves once every in-sync replica has all of them. If it raises, each of them may or
            may not be in the log.
        Blocking: never.

        Raises:
            BrokerUnavailableError: (by the future) no acknowledgement within the delivery time-out, or the queue of
                unsent records is full.
            RecordTooLargeError: (by the future) the broker does not take records of this size.
        """
        future: asyncio.Future[list[RecordMetadata]] = self._loop.create_future()
        if not records:
            future.set_result([])
            return future
        group = _Group(future, len(records))
        if self._fatal.is_set():
            self._replace()
        produce = self._producer.produce
        for index, record in enumerate(records):
            try:
                produce(
                    record.topic,
                    record.value,
                    record.key,
                    record.partition,
                    on_delivery=partial(self._answered, group, index),
                    headers=record.headers,  # type: ignore[arg-type]  # list is invariant; ours is narrower
                )
            except (BufferError, KafkaException) as error:
                self._refused(group, len(records) - index, error)
                break
        return future

    async def close(self, *, within: float = 10.0) -> None:
        """Wait until what was sent is answered, at most ``within`` seconds, and stop.

        Delivery: what is still unanswered then raises ``BrokerUnavailableError`` to whoever awaits it.
        """
        await asyncio.to_thread(self._producer.flush, within)
        self._producer.purge()
        await asyncio.to_thread(self._producer.flush, 1.0)
        self._closing.set()
        await asyncio.to_thread(self._thread.join, 5.0)
        self._drain()

    def _poll(self) -> None:
        while not self._closing.is_set():
            self._producer.poll(0.1)

    def _answered(self, group: _Group, index: int, error: KafkaError | None, message: Message) -> None:
        """Runs in the polling thread."""
        if error is not None and error.fatal():
            self._fatal.set()
        self._answers.append((group, index, error, RecordMetadata(message.partition() or 0, message.offset() or 0)))
        if not self._wake_up_pending:
            self._wake_up_pending = True
            try:
                self._loop.call_soon_threadsafe(self._drain)
            except RuntimeError:  # the loop is closed: nobody waits any more
                self._wake_up_pending = False

    def _drain(self) -> None:
        # Cleared first: an answer that comes in from here on schedules a wake-up of its own, so none is left lying.
        self._wake_up_pending = False
        answers = self._answers
        while answers:
            group, index, error, metadata = answers.popleft()
            group.left -= 1
            if error is not None:
                group.error = group.error or _translate(error)
            else:
                group.metadata[index] = metadata
            if group.left == 0:
                self._resolve(group)

    def _refused(self, group: _Group, left: int, error: BufferError | KafkaException) -> None:
        """Records that the client did not take: they get no acknowledgement call."""
        if isinstance(error, KafkaException):
            cause: KafkaError = error.args[0]
            if cause.fatal():
                self._fatal.set()
            group.error = _translate(cause)
        else:
            group.error = BrokerUnavailableError("the queue of unsent records is full: the broker is slow or away")
        group.left -= left
        if group.left == 0:
            self._resolve(group)

    @staticmethod
    def _resolve(group: _Group) -> None:
        if group.future.done():  # whoever waited was cancelled
            return
        if group.error is not None:
            group.future.set_exception(group.error)
        else:
            group.future.set_result([found for found in group.metadata if found is not None])

    def _replace(self) -> None:
        """An idempotent producer that lost its sequence is dead for good (librdkafka: "fatal"): start a new one."""
        log.error("producer replaced after a fatal error of the client")
        old, self._producer = self._producer, Producer(self._config)
        self._fatal.clear()
        old.purge()
        old.poll(0)


def _translate(error: KafkaError) -> LanewayError:
    if error.code() in _TOO_LARGE:
        return RecordTooLargeError(f"the broker refuses a record of this size: {error.str()}")
    return BrokerUnavailableError(f"not acknowledged: {error.str()} ({error.name()})")
