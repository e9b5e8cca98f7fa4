"""From delivered records to durable outcomes: admission, slots, attempts, publication, acknowledgement.

Everything here runs on the worker's loop, so nothing needs a lock; only handlers run elsewhere.
"""

import asyncio
import traceback as tracebacks
from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final

import structlog
from faust.types.tuples import Message

from laneway.context import Context
from laneway.files import FileStore
from laneway.kafka.producer import OutgoingRecord, RecordMetadata, RecordProducer
from laneway.registry import Registry
from schemas import codec
from schemas.errors import ContractError, LanewayError, RecordTooLargeError, ResultError, UndecodableRecordError
from schemas.headers import read_delivery
from schemas.retry import Cancel, Retry, RetryPolicy, describe, verdict
from schemas.settings import Settings
from schemas.status import Progress, State, order
from schemas.task import Lane, Task
from streams.executors import Executors
from streams.markers import commit_metadata
from streams.publisher import STATUS, TOLD, Publisher
from streams.scheduler import SlotScheduler
from streams.work import Partition, RunKey, Source, Work

log = structlog.get_logger(__name__)

WINDOW: Final = 5_000
"""Records of one partition between the committed one and the newest delivered; beyond it the partition is paused."""
REMEMBERED: Final = 50_000
"""Runs that a worker knows to be over, so that a record repeated by a crash elsewhere starts nothing."""
PUBLISH_AGAIN_AFTER: Final = 0.5
MAX_TRACEBACK: Final = 8_000

ClosedPartition = tuple[Lane, int]


class Dispatcher:
    """What becomes of every record of this worker's lanes.

    Delivery: a record is acknowledged only after its outcome is on every in-sync replica; acknowledgements are
        committed in the order of offsets. Handlers run at least once, and never again once their outcome is durable.
    """

    def __init__(
        self,
        settings: Settings,
        registry: Registry,
        producer: RecordProducer,
        publisher: Publisher,
        executors: Executors,
    ) -> None:
        self._settings = settings
        self._registry = registry
        self._producer = producer
        self._publisher = publisher
        self._executors = executors
        self._loop = asyncio.get_running_loop()
        self._files = FileStore(settings.files_dir)
        self._slots: dict[str, SlotScheduler[Work]] = {
            task_type.name: SlotScheduler(settings.worker.concurrency, clock=self._loop.time) for task_type in registry
        }
        self._prefetch = prefetch_for(settings)
        self._room: dict[Lane, asyncio.Event] = {}
        self._partitions: dict[tuple[Lane, int], Partition] = {}
        self._newest_status: dict[int, int] = {}
        # By partition of `status`: steps on their way, oldest first, each with the newest offset known when it was
        # sent. Its status lies beyond that, and may be durable long before we hear of it.
        self._on_their_way: defaultdict[int, dict[Work, int | None]] = defaultdict(dict)
        self._in_flight: dict[RunKey, Work] = {}
        self._over: OrderedDict[RunKey, None] = OrderedDict()
        self._running: set[Work] = set()
        self._closing = False
        self._pausing: set[tuple[Lane, int]] = set()
        self.flow_changed: asyncio.Event = asyncio.Event()
        """Set when ``pauses`` has changed."""

    # What the lanes' consumers call -------------------------------------------------------------------------------

    def assigned(self, lane: Lane, partitions: set[int]) -> None:
        """The lane has these partitions now; their records wait until ``open_partition`` is called for each."""
        self._room.setdefault(lane, asyncio.Event()).set()
        self.revoked(lane, {number for other, number in self._partitions if other == lane})
        for number in partitions:
            self._partitions[lane, number] = Partition(lane, number)

    def revoked(self, lane: Lane, partitions: set[int]) -> None:
        """Forget what has not started; what runs goes on, and is recognised if it is delivered here again."""
        gone = [found for number in partitions if (found := self._partitions.pop((lane, number), None))]
        if not gone:
            return
        for partition in gone:
            partition.revoked = True
            partition.held = None
            self._pausing.discard((lane, partition.number))
        if lane.type in self._slots:
            self._slots[lane.type].discard(lane.priority, lambda work: work.source.partition.revoked)
        started = self._running
        for key, work in list(self._in_flight.items()):
            if work.source.partition.revoked and work not in started and not work.published:
                if isinstance(work.handle, asyncio.TimerHandle):
                    work.handle.cancel()
                del self._in_flight[key]
        self._room[lane].set()

    def committable(self, lane: Lane) -> Mapping[int, tuple[int, str]]:
        """The offset to commit for each partition, with where a successor starts to read ``status``."""
        commits: dict[int, tuple[int, str]] = {}
        for (of_lane, number), partition in self._partitions.items():
            if of_lane == lane and (offset := partition.tracker.committable) is not None:
                marker = self._first_marker(partition)
                commits[number] = (offset, commit_metadata(marker))
        return commits

    def _first_marker(self, partition: Partition) -> int | None:
        """Where a successor has to start to read ``status``; ``None`` when we cannot say."""
        known = self._newest_status.get(partition.number)
        oldest = next(iter(self._on_their_way[partition.number].values()), known)
        return None if oldest is None else partition.tracker.first_marker(oldest)

    async def admit(self, lane: Lane, message: Message) -> None:
        """Take a record; returns when the lane has room for the next one.

        Raises:
            Nothing: a record that is no task goes to the dead letters.
        """
        partition = self._partitions.get((lane, message.partition))
        if partition is None or self._closing or not partition.tracker.deliver(message.offset):
            return
        source = Source(partition, message)
        if partition.held is not None:
            partition.held.append(source)
        else:
            self._take(source)
        if len(partition.tracker) >= WINDOW:
            self._pause(partition)
        slots, room = self._slots[lane.type], self._room[lane]
        while not partition.revoked and (
            slots.waiting(lane.priority) >= self._prefetch
            or (partition.held is not None and len(partition.held) >= self._prefetch)
        ):
            room.clear()
            await room.wait()

    def unopened(self) -> list[Partition]:
        """Partitions whose records wait for ``open_partition``."""
        return [partition for partition in self._partitions.values() if partition.held is not None]

    def open_partition(self, partition: Partition) -> None:
        """``moved_on`` of the partition is complete: start on its records."""
        held, partition.held = partition.held, None
        for source in held or ():
            self._take(source)
        self._room[partition.lane].set()

    @property
    def pauses(self) -> set[tuple[Lane, int]]:
        """Partitions that must not be fetched: one record holds too many others back."""
        return self._pausing

    # Admission ----------------------------------------------------------------------------------------------------

    def _take(self, source: Source) -> None:
        lane = source.partition.lane
        try:
            work = self._read(source)
        except ContractError as error:
            reason = "undecodable" if isinstance(error, UndecodableRecordError) else "unknown_type"
            log.warning("no task: set aside", lane=str(lane), position=source.position, said=str(error))
            records = self._publisher.set_aside(source, describe(error), reason)
            self._publish(records, source, None)
            return
        key = work.key
        if key in self._over:
            self._acknowledge(source, None)
            return
        status = source.partition.moved_on.get(work.task.id)
        if status is not None and order(status)[:3] >= key[1:]:
            self._over[key] = None
            if order(status)[:3] == key[1:]:
                self._publish(self._publisher.repaired(work, status), source, None)
            else:
                self._acknowledge(source, None)
            return
        present = self._in_flight.get(key)
        if present is not None:
            present.twins.append(source)
            return
        self._in_flight[key] = work
        due = work.delivery.not_before or work.task.run_at
        wait = (due - datetime.now(UTC)).total_seconds() if due else 0.0
        if wait > 0:
            work.handle = self._loop.call_later(wait, self._due, work)
        else:
            self._due(work)

    def _read(self, source: Source) -> Work:
        message, lane = source.message, source.partition.lane
        task = codec.decode(message.value, Task)
        delivery = read_delivery(source.headers)
        if task.type != lane.type:
            raise UndecodableRecordError(f"a task of type {task.type!r} on a lane of type {lane.type!r}")
        return Work(source, task, self._registry[task.type], delivery)

    def _due(self, work: Work) -> None:
        """Its time has come (a timer may strike a little early: then wait for the rest)."""
        work.handle = None
        now = datetime.now(UTC)
        due = work.delivery.not_before or work.task.run_at
        if due is not None and due > now:
            work.handle = self._loop.call_later((due - now).total_seconds() + 0.001, self._due, work)
            return
        if work.task.expires_at is not None and work.task.expires_at <= now:
            log.info("expired before it started", **self._fields(work))
            self._publish(self._publisher.finished(work, State.EXPIRED), work.source, work)
            return
        lane = work.source.partition.lane
        self._slots[lane.type].add(lane.priority, work)
        self._fill(lane.type)

    def _fill(self, type_name: str) -> None:
        """Give every free slot to the task whose turn it is."""
        slots = self._slots[type_name]
        while not self._closing and (work := slots.take()) is not None:
            work.started_at = datetime.now(UTC)
            self._running.add(work)
            work.handle = self._loop.create_task(self._run(work))
            lane = work.source.partition.lane
            if slots.waiting(lane.priority) <= self._prefetch // 2:
                self._room[lane].set()

    # Attempts -----------------------------------------------------------------------------------------------------

    async def _run(self, work: Work) -> None:
        task_type = work.task_type
        assert task_type is not None  # noqa: S101  (without a type nothing gets a slot)
        seconds = work.task.timeout
        timeout = timedelta(seconds=seconds) if seconds is not None else task_type.timeout
        try:
            result = await self._executors.run(
                task_type, bytes(work.task.payload), self._context(work, timeout), timeout
            )
        except asyncio.CancelledError as error:
            if self._closing:  # handed back: no acknowledgement, another worker takes it
                self._in_flight.pop(work.key, None)
                raise
            records = self._failed(work, error, task_type.retry)
        except (Exception, SystemExit) as error:  # noqa: BLE001  (the boundary of an attempt)
            records = self._failed(work, error, task_type.retry)
        else:
            records = self._publisher.finished(work, State.SUCCEEDED, result=result)
            log.debug("succeeded", **self._fields(work))
        finally:
            work.handle = None
            self._running.discard(work)
            self._slots[task_type.name].release(work.source.partition.lane.priority)
            self._fill(task_type.name)
        self._publish(records, work.source, work)

    def _context(self, work: Work, timeout: timedelta | None) -> Context:
        task = work.task

        def report(progress: Progress) -> None:
            self._loop.call_soon_threadsafe(self._progressed, work, progress)

        return Context(
            task_id=task.id,
            type=task.type,
            priority=task.priority,
            attempt=work.delivery.attempt,
            max_attempts=work.max_attempts,
            generation=task.generation,
            labels=task.labels,
            deadline=work.started_at + timeout if timeout and work.started_at else None,
            settings=self._settings,
            files=self._files,
            logger=log.bind(**self._fields(work)),
            report=report,
        )

    def _failed(self, work: Work, error: BaseException, policy: RetryPolicy) -> list[OutgoingRecord]:
        follows = verdict(error, attempt=work.delivery.attempt, max_attempts=work.max_attempts, policy=policy)
        level = error.log_level if isinstance(error, LanewayError) else 30
        told = None if isinstance(error, LanewayError) else "".join(tracebacks.format_exception(error))[-MAX_TRACEBACK:]
        fields = self._fields(work)
        if isinstance(follows, Retry):
            due = datetime.now(UTC) + follows.delay
            log.log(level, "runs again", error=repr(error), in_seconds=follows.delay.total_seconds(), **fields)
            return self._publisher.retrying(work, follows, due, traceback=told)
        if isinstance(follows, Cancel):
            log.log(level, "cancelled while it ran", **fields)
            return self._publisher.finished(work, State.CANCELLED, error=follows.error)
        log.log(level, "dead letter", reason=follows.reason, error=repr(error), **fields)
        return self._publisher.dead_lettered(work, follows.reason, follows.error, traceback=told)

    def _progressed(self, work: Work, progress: Progress) -> None:
        work.progress = progress
        work.untold_progress = True

    def tell_running(self) -> None:
        """Publish ``running`` for what has run for a while, and the newest progress; called many times a second."""
        now = datetime.now(UTC)
        bound = timedelta(seconds=self._settings.worker.running_visible_after)
        for work in self._running:
            if work.started_at is None or now - work.started_at < bound:
                continue
            if not work.told_running or work.untold_progress:
                work.told_running, work.untold_progress = True, False
                self._producer.send(self._publisher.running(work)).add_done_callback(_log_untold)

    # Publication and acknowledgement ------------------------------------------------------------------------------

    def _publish(self, records: list[OutgoingRecord], source: Source, work: Work | None) -> None:
        """Publish a step; its source is acknowledged once every record of it is durable, however long that takes.

        What others act on (the outcome, the next run, the dead letter) follows only once the status is durable: a
        kill in between then never leaves an outcome whose task would run again, and what is missing is repaired.
        """
        told = len(records)
        if work is not None:
            work.published = True
            told = TOLD
            number = source.message.partition
            self._on_their_way[number].setdefault(work, self._newest_status.get(number))
        self._send(records[:told], records[told:], source, work, None)

    def _send(
        self,
        records: list[OutgoingRecord],
        rest: list[OutgoingRecord],
        source: Source,
        work: Work | None,
        marker: int | None,
    ) -> None:
        self._producer.send(records).add_done_callback(partial(self._sent, records, rest, source, work, marker))

    def _sent(
        self,
        records: list[OutgoingRecord],
        rest: list[OutgoingRecord],
        source: Source,
        work: Work | None,
        marker: int | None,
        sent: "asyncio.Future[list[RecordMetadata]]",
    ) -> None:
        if sent.cancelled() or (self._closing and sent.exception() is not None):
            return
        error = sent.exception()
        if isinstance(error, RecordTooLargeError) and work is not None and marker is None:
            log.warning("outcome too large for the broker", **self._fields(work))
            too_large = ResultError(f"the outcome does not fit a record: {error}")
            self._publish(self._publisher.dead_lettered(work, "result_too_large", describe(too_large)), source, work)
            return
        if error is not None:
            log.warning("outcome not acknowledged, published again", position=source.position, said=str(error))
            self._loop.call_later(PUBLISH_AGAIN_AFTER, self._send, records, rest, source, work, marker)
            return
        if work is not None and marker is None:
            marker = sent.result()[STATUS].offset
            number = source.message.partition
            self._newest_status[number] = max(marker, self._newest_status.get(number, -1))
        if rest:
            self._send(rest, [], source, work, marker)
            return
        if work is not None:
            self._finished(work, marker)
        self._acknowledge(source, marker)

    def _finished(self, work: Work, marker: int | None) -> None:
        """The run is over: whoever asks for it again, or asked already, is done."""
        self._in_flight.pop(work.key, None)
        self._on_their_way[work.source.message.partition].pop(work, None)
        self._over[work.key] = None
        if len(self._over) > REMEMBERED:
            self._over.popitem(last=False)
        for twin in work.twins:
            self._acknowledge(twin, marker)

    def _acknowledge(self, source: Source, marker: int | None) -> None:
        partition = source.partition
        if partition.revoked:
            return
        partition.tracker.done(source.message.offset, marker)
        if partition.moved_on and (partition.tracker.committable or 0) >= partition.redelivered_until:
            partition.moved_on = {}
        if partition.paused and len(partition.tracker) <= WINDOW // 2:
            partition.paused = False
            self._pausing.discard((partition.lane, partition.number))
            self.flow_changed.set()

    def _pause(self, partition: Partition) -> None:
        if not partition.paused:
            partition.paused = True
            self._pausing.add((partition.lane, partition.number))
            self.flow_changed.set()

    # The end ------------------------------------------------------------------------------------------------------

    async def drain(self, within: timedelta) -> None:
        """Start nothing more; let what runs finish and publish, at most ``within``; hand the rest back.

        Delivery: what is cut off is not acknowledged, so another worker runs it.
        """
        for slots in self._slots.values():
            slots.slots = 0
        deadline = self._loop.time() + within.total_seconds()
        while (self._running or self._unpublished()) and self._loop.time() < deadline:  # noqa: ASYNC110  (rarely looked at)
            await asyncio.sleep(0.02)
        self._closing = True
        cut_off = [work.handle for work in self._running if isinstance(work.handle, asyncio.Task)]
        if cut_off:
            log.warning("handed back: still running at the end of the drain", tasks=len(cut_off))
        for handle in cut_off:
            handle.cancel()
        await asyncio.gather(*cut_off, return_exceptions=True)

    def _unpublished(self) -> bool:
        return any(work.published for work in self._in_flight.values())

    @property
    def running(self) -> Iterable[Work]:
        """What runs now."""
        return self._running

    @staticmethod
    def _fields(work: Work) -> dict[str, object]:
        return {
            "task_id": work.task.id,
            "lane": str(work.source.partition.lane),
            "attempt": work.delivery.attempt,
            "position": work.source.position,
        }


def prefetch_for(settings: Settings) -> int:
    """How many tasks of a lane wait in the worker: few, so that priority holds; enough to keep its slots busy."""
    return max(32, 2 * settings.worker.concurrency)


def _log_untold(sent: "asyncio.Future[list[RecordMetadata]]") -> None:
    if not sent.cancelled() and (error := sent.exception()) is not None:
        log.info("a running task could not be told of", said=str(error))
