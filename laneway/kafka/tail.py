"""The end of a topic, as it grows, for those who listen to single keys."""

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

import structlog
from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from laneway.kafka.clients import failure, reader_config
from schemas.errors import BrokerUnavailableError
from schemas.settings import Settings

log = structlog.get_logger(__name__)

_LOOKS_BACK: Final = timedelta(seconds=30)
_REMEMBERED_BYTES: Final = 32 * 1024 * 1024
_REMEMBERED: Final = 5_000
"""Records of a partition."""
_MOST_WAITING: Final = 1_000
_IDLE_SECONDS: Final = 60.0
_STARTS_WITHIN: Final = 10.0
_TIMEOUT: Final = 5.0
_POLL: Final = 0.2
_BATCH: Final = 2_000
_TRY_AGAIN_AFTER: Final = 0.5


class TailRecord(NamedTuple):
    """A record of the topic."""

    offset: int
    at_ms: int
    """Broker time, since the epoch."""
    key: bytes
    value: bytes


class Listener:
    """The records of one key of one partition, from ``position`` on, in their order."""

    def __init__(self, number: int, key: bytes) -> None:
        self.number = number
        self.key = key
        self.position = 0
        """Offset from which on records come here; those before it are in the log."""
        self._records: deque[TailRecord] = deque()
        self._news = asyncio.Event()
        self.over = False
        """Nothing comes any more: the tail is closed, or too much was not taken in time."""

    async def next(self, within: float) -> TailRecord | None:
        """The next record; ``None`` when there is none in so many seconds, or nothing comes any more."""
        if not self._records and not self.over:
            self._news.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), within)
        return self._records.popleft() if self._records else None

    def put(self, record: TailRecord) -> None:
        """On the loop: a record has come."""
        if len(self._records) < _MOST_WAITING:
            self._records.append(record)
        else:
            self.over = True
        self._news.set()

    def end(self) -> None:
        """On the loop: nothing comes any more."""
        self.over = True
        self._news.set()


class LogTail:
    """Follows a topic, in a thread of its own, while anybody listens and for a minute more.

    It remembers the latest records, so that who asks for a key from a moment ago need not read the log.

    Delivery: each record from a listener's position on, once, as long as its ``over`` is false.
    """

    def __init__(self, settings: Settings, topic: str, client_id: str) -> None:
        self._topic = topic
        self._partitions = settings.kafka.partitions
        self._client_id = client_id
        self._config = {
            **reader_config(settings, client_id, "tail"),
            "auto.offset.reset": "earliest",
            "fetch.wait.max.ms": 100,
            "queued.max.messages.kbytes": 16_384,
        }
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        # Under the lock:
        self._listeners: dict[bytes, set[Listener]] = {}
        self._positions: dict[int, int] = {}
        self._remembered: dict[int, deque[TailRecord]] = {}
        self._since: dict[int, int] = {}
        """By partition: every record from this offset on is remembered."""
        self._bytes = 0
        self._left_at = 0.0
        self._thread: threading.Thread | None = None
        self._started = asyncio.Event()
        self._stopping = threading.Event()

    @asynccontextmanager
    async def listen(self, number: int, key: bytes) -> AsyncIterator[Listener]:
        """A listener for as long as the block runs.

        Raises:
            BrokerUnavailableError: the broker does not tell where the log ends.
        """
        listener = Listener(number, key)
        if self._stopping.is_set():
            listener.end()
            yield listener
            return
        with self._lock:
            self._listeners.setdefault(key, set()).add(listener)
            if self._thread is None:
                self._started = asyncio.Event()
                self._thread = threading.Thread(target=self._run, name=self._client_id, daemon=True)
                self._thread.start()
            started = self._started
        try:
            try:
                await asyncio.wait_for(started.wait(), _STARTS_WITHIN)
            except TimeoutError:
                raise BrokerUnavailableError(f"{self._topic} cannot be followed: the broker does not answer") from None
            with self._lock:
                # What was handed over before may come twice: from here and from what is remembered.
                listener.position = self._positions.get(number, 0)
            yield listener
        finally:
            with self._lock:
                self._listeners[key].discard(listener)
                if not self._listeners[key]:
                    del self._listeners[key]
                self._left_at = time.monotonic()

    def remembered(self, number: int, key: bytes, *, since: datetime | int, until: int) -> list[TailRecord] | None:
        """The records of a key before offset ``until``, or ``None`` when earlier ones may be in the log alone.

        Args:
            number: the partition.
            key: theirs.
            since: offset, or broker time, of the first one or earlier.
            until: a listener's position.
        """
        with self._lock:
            records = self._remembered.get(number, deque())
            if isinstance(since, int):
                if since < self._since.get(number, until):
                    return None
            elif not records or records[0].at_ms > since.timestamp() * 1000:
                return None
            first = since if isinstance(since, int) else 0
            return [record for record in records if record.key == key and first <= record.offset < until]

    def release(self) -> None:
        """End every listener, now and from now on: the process is about to stop."""
        self._stopping.set()
        with self._lock:
            for listeners in self._listeners.values():
                for listener in listeners:
                    listener.end()

    async def close(self) -> None:
        """Stop following."""
        self.release()
        thread = self._thread
        if thread is not None:
            await asyncio.to_thread(thread.join)

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                try:
                    consumer = Consumer(self._config)
                    try:
                        if self._follow(consumer):
                            return
                    finally:
                        consumer.close()
                except (KafkaException, TimeoutError) as error:
                    log.warning("tail begun again soon", topic=self._topic, said=str(error))
                    self._stopping.wait(_TRY_AGAIN_AFTER)
        except RuntimeError:  # the loop is closed: nobody listens any more
            return
        finally:
            with self._lock:
                if self._thread is threading.current_thread():
                    self._thread = None
                left = [listener for listeners in self._listeners.values() for listener in listeners]
            # Whatever ended the thread: who listens must not wait for what does not come.
            with contextlib.suppress(RuntimeError):
                for listener in left:
                    self._loop.call_soon_threadsafe(listener.end)

    def _follow(self, consumer: Consumer) -> bool:
        """Go on until stopped; answers True when nobody has listened for a while."""
        if not self._positions:
            self._begin(consumer)
        consumer.assign([TopicPartition(self._topic, number, at) for number, at in self._positions.items()])
        self._loop.call_soon_threadsafe(self._started.set)
        while not self._stopping.is_set():
            first = consumer.poll(_POLL)
            if first is not None:
                self._take([first, *consumer.consume(_BATCH, 0)])
            elif self._rests():
                return True
        return False

    def _begin(self, consumer: Consumer) -> None:
        """Stand a little before the end, so that tasks of this moment are remembered whole."""
        ago = int((datetime.now(UTC) - _LOOKS_BACK).timestamp() * 1000)
        asked = [TopicPartition(self._topic, number, ago) for number in range(self._partitions)]
        positions: dict[int, int] = {}
        for found in consumer.offsets_for_times(asked, timeout=_TIMEOUT):
            high = consumer.get_watermark_offsets(TopicPartition(self._topic, found.partition), timeout=_TIMEOUT)[1]
            at = found.offset if found.offset >= 0 else high
            positions[found.partition] = max(at, high - _REMEMBERED)
        with self._lock:
            self._positions = positions
            self._since = dict(positions)
            self._remembered = {number: deque() for number in positions}
            self._bytes = 0

    def _rests(self) -> bool:
        """Forget everything, if nobody has listened for a while; the next listener begins anew."""
        with self._lock:
            if self._listeners or time.monotonic() - self._left_at < _IDLE_SECONDS:
                return False
            self._positions.clear()
            self._remembered.clear()
            self._thread = None
            return True

    def _take(self, messages: list[Message]) -> None:
        wanted: list[tuple[Listener, TailRecord]] = []
        with self._lock:
            for message in messages:
                if failure(message) is not None:
                    continue
                number, offset = message.partition() or 0, message.offset() or 0
                record = TailRecord(offset, message.timestamp()[1], message.key() or b"", message.value() or b"")
                self._positions[number] = offset + 1
                self._remember(number, record)
                wanted += [(listener, record) for listener in self._listeners.get(record.key, ())]
        if wanted:
            self._loop.call_soon_threadsafe(self._hand_over, wanted)

    def _remember(self, number: int, record: TailRecord) -> None:
        records = self._remembered[number]
        records.append(record)
        self._bytes += len(record.value)
        while len(records) > _REMEMBERED or (self._bytes > _REMEMBERED_BYTES and records):
            gone = records.popleft()
            self._bytes -= len(gone.value)
            self._since[number] = gone.offset + 1

    @staticmethod
    def _hand_over(wanted: list[tuple[Listener, TailRecord]]) -> None:
        for listener, record in wanted:
            listener.put(record)
