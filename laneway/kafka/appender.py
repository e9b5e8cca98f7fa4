"""Appending many small records for the price of few calls."""

import asyncio
import time
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import structlog

from laneway.kafka import wire
from laneway.kafka.broker_link import BrokerLink, ask
from laneway.kafka.wire import EncodedRecord
from schemas.errors import BrokerUnavailableError, LanewayError, RecordTooLargeError
from schemas.settings import Settings
from schemas.topics import MAX_RECORD_BYTES

log = structlog.get_logger(__name__)

TopicPartition = tuple[str, int]

_BATCH_BYTES: Final = 400_000
"""From here on records begin another batch; one record may be larger."""
_BATCH_SECONDS: Final = 0.25
"""Records that come later begin another batch, so that all of a batch grow too old together."""
_REQUEST_BYTES: Final = 8_000_000
_QUEUE_BYTES: Final = 96_000_000
"""Unsent bytes from which on nothing more is taken."""
_OVERHEAD: Final = 1_000
_TICK: Final = 0.05
_BACKOFF: Final = 0.1
PACE: Final = 0.003
"""Seconds between two flushes: what a lone task need not wait for, many share. Small requests cost brokers and readers
far more than the records in them."""
_MANY: Final = 4
"""Calls in one flush from which on the next one keeps the pace of a busy process."""
_WARN_SECONDS: Final = 10.0
_LOST_SEQUENCE: Final = frozenset({45, 47, 59, 90})
"""OUT_OF_ORDER_SEQUENCE_NUMBER, INVALID_PRODUCER_EPOCH, UNKNOWN_PRODUCER_ID, PRODUCER_FENCED."""
_TRANSIENT: Final = frozenset({2, 3, 5, 6, 7, 8, 9, 13, 14, 15, 16, 19, 20, 56, 74, 75})
_DUPLICATE: Final = 46
_TOO_LARGE: Final = frozenset({10, 18})


class Appended(NamedTuple):
    """Where the records of one call lie."""

    last: dict[TopicPartition, int]
    """Offset of the last of them in each partition; -1 where the broker only says that it has them."""


class _Group:
    """Records of one call, and the future that resolves once each has its answer."""

    __slots__ = ("failed", "future", "last", "left")

    def __init__(self, future: "asyncio.Future[Appended]") -> None:
        self.future = future
        self.failed = False
        self.left = 0
        self.last: dict[TopicPartition, int] = {}


class _Batch:
    __slots__ = ("began", "count", "groups", "held_until", "parts", "place", "sealed", "size")

    def __init__(self, place: TopicPartition, began: float) -> None:
        self.place = place
        self.began = began
        self.count = 0
        self.parts: list[bytes] = []
        self.groups: list[tuple[_Group, int]] = []
        """Each with the place of its last record."""
        self.size = 0
        self.held_until = 0.0
        """Not sent again before."""
        self.sealed: bytes | None = None
        """As it was sent: sent again it must be the same, sequence number and all, to be known for a repetition."""


class LogAppender:
    """An idempotent producer for records that come in bursts, written for the event loop.

    Against a general client it saves a call into C, a call-back and a message object for each record: a record is
    joined to its batch as bytes, and acknowledgements are counted by batch. One request is under way to each broker,
    and what comes in meanwhile makes up the next, so batches grow with the load and a lone record never waits.

    All methods belong to the loop that made it.

    Delivery: acknowledged means by every in-sync replica. A repetition after a lost answer carries the same sequence
        number, so it lies in the log once.
    Ordering: records of one partition lie in the order of ``send``.
    """

    def __init__(
        self,
        settings: Settings,
        client_id: str,
        *,
        delivery_timeout: float,
        pace: float = PACE,
        busy_pace: float | None = None,
    ) -> None:
        self._pace = self._lone_pace = pace
        self._busy_pace = pace if busy_pace is None else busy_pace
        self.failures = 0
        """Calls of ``send`` that were refused or not acknowledged."""
        self._calls = 0
        """Of ``send`` since the last flush."""
        self._urgent: set[TopicPartition] = set()
        """Where something waits that is urgent."""
        self._bootstrap = [_address(each) for each in settings.bootstrap_servers.split(",")]
        self._client_id = client_id.encode()
        self._timeout = delivery_timeout
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[TopicPartition, deque[_Batch]] = {}
        self._queued = 0
        self._links: dict[int, BrokerLink[list[_Batch]]] = {}
        self._metadata = wire.Metadata({}, {})
        self._topics: set[str] = set()
        self._identity: wire.ProducerIdentity | None = None
        self._sequences: dict[TopicPartition, int] = {}
        self._next_flush: asyncio.TimerHandle | None = None
        self._flushed_at = 0.0
        self._preparing: asyncio.Task[None] | None = None
        self._stale = True
        self._closing = False
        self._watch = self._loop.call_later(_TICK, self._tick)
        self._warned_at = 0.0

    def expect(self, topics: Iterable[str]) -> None:
        """Learn the leaders of topics ahead of the first record."""
        self._topics.update(topics)
        self._prepare()

    def send(self, records: Sequence[EncodedRecord], *, urgent: bool = False) -> "asyncio.Future[Appended]":
        """Append ``records``, in their order, and tell where they lie; urgent ones do not wait for others to join them.

        Delivery: the future resolves once every in-sync replica has all of them. If it raises, each of them may or
            may not be in the log.
        Blocking: never.

        Raises:
            BrokerUnavailableError: (by the future) no acknowledgement within the delivery time-out, or too much is
                unsent already.
            RecordTooLargeError: (by the future) a record is larger than the log takes.
        """
        future: asyncio.Future[Appended] = self._loop.create_future()
        if self._closing or self._queued > _QUEUE_BYTES:
            self.failures += 1
            future.set_exception(BrokerUnavailableError("not acknowledged: the queue of unsent records is full"))
            return future
        for each in records:
            if len(each.body) + _OVERHEAD > MAX_RECORD_BYTES:
                self.failures += 1
                future.set_exception(
                    RecordTooLargeError(f"a record of {len(each.body)} bytes is too large for the log")
                )
                return future
        group = _Group(future)
        now = time.monotonic()
        queued = 0
        record_head = wire.record_head
        for topic, partition, body in records:
            place = (topic, partition)
            batches = self._waiting.get(place)
            if batches is None:
                batches = self._waiting[place] = deque()
            batch = batches[-1] if batches else None
            if (
                batch is None
                or batch.sealed is not None
                or batch.size >= _BATCH_BYTES
                or now - batch.began > _BATCH_SECONDS
            ):
                batch = _Batch(place, now)
                batches.append(batch)
            index = batch.count
            batch.count = index + 1
            size = len(body)
            batch.parts += (record_head(size, index), body)
            batch.size += size
            queued += size
            if batch.groups and batch.groups[-1][0] is group:
                batch.groups[-1] = (group, index)
            else:
                batch.groups.append((group, index))
                group.left += 1
        self._queued += queued
        if not group.left:
            future.set_result(Appended({}))
        else:
            self._calls += 1
            if urgent:
                self._urgent.update((topic, partition) for topic, partition, _ in records)
            self._flush_soon()
        return future

    async def close(self, *, within: float = 10.0) -> None:
        """Wait until what was sent is answered, at most ``within`` seconds, and stop."""
        open_batches = [batch for batches in self._waiting.values() for batch in batches]
        for link in self._links.values():
            open_batches += link.flight or ()
        unanswered = {group.future for batch in open_batches for group, _ in batch.groups if not group.future.done()}
        if unanswered:
            await asyncio.wait(unanswered, timeout=within)
        self._closing = True
        self._watch.cancel()
        if self._preparing is not None:
            self._preparing.cancel()
            await asyncio.gather(self._preparing, return_exceptions=True)
        for link in self._links.values():
            link.close()
        error = BrokerUnavailableError("not acknowledged: the process stops")
        for batches in list(self._waiting.values()):
            for batch in batches:
                self._fail(batch, error)

    def _flush(self) -> None:
        self._next_flush = None
        self._urgent &= self._waiting.keys()
        if not self._waiting:
            return
        began = self._loop.time()
        # What is urgent goes alone: the rest would go in small requests, as often as something urgent comes.
        alone = self._urgent and began < self._flushed_at + self._pace
        if not alone:
            self._flushed_at = began
        identity = self._identity
        if identity is None:
            self._prepare()
            return
        chosen: dict[int, list[_Batch]] = {}
        sizes: dict[int, int] = {}
        leaders = self._metadata.leaders
        now = time.monotonic()
        for place in self._urgent if alone else self._waiting:
            batches = self._waiting[place]
            node = leaders.get(place)
            if node not in self._metadata.brokers:
                self._topics.add(place[0])
                self._stale = True
                continue
            link = self._links.get(node)
            if (link is not None and link.flight is not None) or batches[0].held_until > now:
                continue
            size = sizes.get(node, 0)
            if size < _REQUEST_BYTES:
                chosen.setdefault(node, []).append(batches[0])
                sizes[node] = size + batches[0].size
        if chosen and not alone:
            self._pace = self._busy_pace if self._calls > _MANY else self._lone_pace
            self._calls = 0
        for node, group in chosen.items():
            self._send_to(node, group, identity)
        self._urgent &= self._waiting.keys()
        if alone and not self._urgent:
            self._flush_soon()
        if self._stale:
            self._prepare()

    def _send_to(self, node: int, batches: list[_Batch], identity: wire.ProducerIdentity) -> None:
        link = self._links.get(node)
        if link is None:
            link = self._links[node] = BrokerLink(self._client_id, self._flush_soon, self._answered, self._lost)
        if not link.connected:
            host, port = self._metadata.brokers[node]
            link.connect(host, port)
            return
        topics: dict[str, list[tuple[int, bytes]]] = {}
        for batch in batches:
            waiting = self._waiting[batch.place]
            waiting.popleft()
            if not waiting:
                del self._waiting[batch.place]
            self._queued -= batch.size
            if batch.sealed is None:
                sequence = self._sequences.get(batch.place, 0)
                batch.sealed = wire.record_batch(batch.parts, batch.count, identity, sequence)
                self._sequences[batch.place] = (sequence + batch.count) & 0x7FFFFFFF
                batch.parts.clear()
            topics.setdefault(batch.place[0], []).append((batch.place[1], batch.sealed))
        link.send(batches, topics, int(self._timeout * 1000))

    def _answered(self, batches: list[_Batch], answers: list[wire.PartitionAnswer]) -> None:
        """An answer has come: count what is in the log, and send what waits."""
        by_place = {batch.place: batch for batch in batches}
        for topic, partition, error, offset in answers:
            batch = by_place.pop((topic, partition), None)
            if batch is None:
                continue
            if error == 0:
                self._succeed(batch, offset)
            elif error == _DUPLICATE:
                self._succeed(batch, None)
            else:
                self._refused(batch, error)
        for batch in by_place.values():
            self._again(batch)
        self._flush_soon()

    def _lost(self, batches: list[_Batch] | None, reason: str) -> None:
        """A connection is gone, with or without something under way on it."""
        if self._closing:
            error = BrokerUnavailableError("not acknowledged: the process stops")
            for batch in batches or ():
                self._fail(batch, error)
            return
        if batches is None and not self._waiting:
            return  # brokers close connections that nobody uses
        now = time.monotonic()
        if now - self._warned_at > _WARN_SECONDS:
            self._warned_at = now
            log.warning("the broker is gone; trying again", reason=reason)
        for batch in batches or ():
            self._again(batch)
        self._stale = True
        self._prepare()

    def _refused(self, batch: _Batch, error: int) -> None:
        if error in _TRANSIENT:
            self._stale = True
            batch.held_until = time.monotonic() + _BACKOFF
            self._again(batch)
        elif error in _TOO_LARGE:
            self._fail(batch, RecordTooLargeError("the broker refuses records of this size"))
        else:
            if error not in _LOST_SEQUENCE:
                log.error("the broker refuses records", topic=batch.place[0], kafka_error=error)
            self._fail(batch, BrokerUnavailableError(f"not acknowledged: the broker answers with error {error}"))

    def _again(self, batch: _Batch) -> None:
        """Put a batch back, before everything that came later."""
        self._waiting.setdefault(batch.place, deque()).appendleft(batch)
        self._queued += batch.size

    @staticmethod
    def _succeed(batch: _Batch, offset: int | None) -> None:
        place = batch.place
        for group, index in batch.groups:
            group.left -= 1
            last = -1 if offset is None else offset + index
            group.last[place] = last
            if not group.left and not group.future.done():
                group.future.set_result(Appended(group.last))

    def _fail(self, batch: _Batch, error: LanewayError) -> None:
        if batch.sealed is not None:
            # Its sequence numbers may be missing in the log, and the broker takes nothing behind a gap.
            self._identity = None
        for group, _ in batch.groups:
            # Whoever sent it may have given up before.
            self.failures += not group.failed
            group.failed = True
            if not group.future.done():
                group.future.set_exception(error)

    def _tick(self) -> None:
        self._watch = self._loop.call_later(_TICK, self._tick)
        oldest = time.monotonic() - self._timeout
        for link in self._links.values():
            if link.flight is not None and link.sent_at < oldest:
                link.close()  # its batches come back by `_lost`
        if not self._waiting:
            return
        error: BrokerUnavailableError | None = None
        for place in list(self._waiting):
            batches = self._waiting[place]
            while batches and batches[0].began < oldest:
                error = error or BrokerUnavailableError(f"not acknowledged in {self._timeout:g} s")
                batch = batches.popleft()
                self._queued -= batch.size
                self._fail(batch, error)
            if not batches:
                del self._waiting[place]
        self._flush()

    def _prepare(self) -> None:
        if not self._closing and (self._preparing is None or self._preparing.done()):
            self._preparing = self._loop.create_task(self._learn())

    async def _learn(self) -> None:
        """Find out who leads, get an identity where there is none, and connect."""
        while True:
            try:
                await asyncio.wait_for(self._learn_once(), self._timeout)
            except (OSError, TimeoutError, EOFError) as error:
                now = time.monotonic()
                if now - self._warned_at > _WARN_SECONDS:
                    self._warned_at = now
                    log.warning("no broker answers; trying again", reason=str(error))
            else:
                # What still has no leader, or moved on meanwhile, is asked for again by the next tick.
                if self._identity is not None:
                    self._flush_soon()
                    return
            await asyncio.sleep(_BACKOFF)

    async def _learn_once(self) -> None:
        if self._stale:
            self._stale = False
            try:
                frame = await self._ask(wire.metadata_request(0, self._client_id, sorted(self._topics)))
            except BaseException:
                self._stale = True
                raise
            found = wire.read_metadata(frame)
            moved = [node for node, link in self._links.items() if found.brokers.get(node) != link.address]
            for node in moved:
                if node in found.brokers or self._links[node].flight is None:
                    self._links.pop(node).close()
            self._metadata = found
        if self._identity is None:
            error, identity = wire.read_producer_id(await self._ask(wire.producer_id_request(0, self._client_id)))
            if not error:
                self._sequences.clear()
                self._identity = identity
        await asyncio.sleep(_BACKOFF if self._waiting and self._links else 0)

    async def _ask(self, request: bytes) -> bytes:
        error: Exception = OSError("no broker is known")
        for host, port in dict.fromkeys([*self._metadata.brokers.values(), *self._bootstrap]):
            try:
                return await ask(host, port, request)
            except (OSError, EOFError, TimeoutError) as failure:
                error = failure
        raise error

    def _flush_soon(self) -> None:
        """Flush after everything that this turn of the loop brings, and not before the pace allows it."""
        wait = 0.0 if self._urgent else self._flushed_at + self._pace - self._loop.time()
        if self._next_flush is not None:
            if not self._urgent:
                return
            self._next_flush.cancel()
        self._next_flush = self._loop.call_later(max(0.0, wait), self._flush)


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.strip().rpartition(":")
    return (host.strip("[]"), int(port)) if host else (text.strip(), 9092)
