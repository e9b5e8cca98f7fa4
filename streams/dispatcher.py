"""From delivered records to attempts: admission, turns, slots, and what becomes of it all when partitions move.

Everything here runs on the worker's loop, so nothing needs a lock; handlers run elsewhere (``streams.executors``), and
``streams.outcomes`` makes what they ended with durable.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Final

import structlog

from laneway.registry import Registry
from schemas import codec
from schemas.control import Cancelled
from schemas.errors import ContractError, UndecodableRecordError
from schemas.headers import Delivery, read_delivery
from schemas.retry import describe
from schemas.settings import Settings
from schemas.status import State, Status, order
from schemas.task import Lane, Priority, Task
from streams import turns
from streams.cancelling import Cancellations
from streams.clock import Clock, utc_now
from streams.due_changes import DueChanges
from streams.flow import Flow
from streams.guard import CrashGuard
from streams.outcomes import Outcomes
from streams.runs import Runs, fields_of, prefetch_for
from streams.work import Partition, Record, RunKey, Source, Work, next_delivery

log = structlog.get_logger(__name__)

RELEASE_WITHIN: Final = 4.0
"""Seconds that a revoked partition waits for what is on its way to the broker; less than the group waits for us."""


class Dispatcher:
    """What becomes of every record of this worker's lanes.

    Delivery: a record is acknowledged only after its outcome is on every in-sync replica; acknowledgements are
        committed in the order of offsets. Handlers run at least once, and never again once their outcome is durable,
        nor elsewhere while a worker that holds its lease runs them.
    Ordering: tasks of one ordering key run one at a time, in the order of their records.
    """

    def __init__(
        self,
        settings: Settings,
        registry: Registry,
        outcomes: Outcomes,
        runs: Runs,
        guard: CrashGuard,
        cancellations: Cancellations,
        due_changes: DueChanges,
        lease_holds: Callable[[Lane], bool],
        worker: str,
        clock: Clock = utc_now,
    ) -> None:
        self._registry = registry
        self._outcomes = outcomes
        self._runs = runs
        self._guard = guard
        self._cancellations = cancellations
        self._due_changes = due_changes
        self._lease_holds = lease_holds
        self._all_partitions = settings.kafka.partitions * len(Priority)
        self._worker = worker
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._prefetch = prefetch_for(settings)
        self._room: dict[Lane, asyncio.Event] = {}
        self._partitions: dict[tuple[Lane, int], Partition] = {}
        self._in_flight: dict[RunKey, Work] = {}
        self._closing = False
        self.flow = Flow()
        """Which partitions are fetched."""
        due_changes.owner = self
        runs.room = lambda lane: self._room[lane].set()
        runs.handed_back = lambda work: self._in_flight.pop(work.key, None)
        outcomes.over = self._over
        outcomes.certainly_lost = self._certainly_lost
        outcomes.set_aside_over = lambda source: self._record_done(source, None)

    # What the lanes' consumers call -------------------------------------------------------------------------------

    def assigned(self, lane: Lane, partitions: set[int], member: str) -> None:
        """The lane has these partitions now; their records wait until ``open_partition`` is called for each."""
        self._room.setdefault(lane, asyncio.Event()).set()
        self.revoked(lane, {number for other, number in self._partitions if other == lane})
        for number in partitions:
            self._partitions[lane, number] = Partition(lane, number, member)
        self._share_rate(lane.type)

    async def release(self, lane: Lane, partitions: set[int]) -> None:
        """Start nothing more of these partitions, claim what runs, and wait for what is on its way.

        Delivery: afterwards ``status`` tells the next owner what is over and what runs here, within bounds of time.
        """
        for partition in (mine := [found for each in partitions if (found := self._partitions.get((lane, each)))]):
            partition.releasing = True
        self._forget_unstarted(lane, lambda work: work.source.partition.releasing)
        running = [work for work in self._runs.running if work.source.partition in mine]
        try:
            async with asyncio.timeout(RELEASE_WITHIN):
                claimed = await self._outcomes.claim(running)
                await self._outcomes.settled(mine)
                for partition in mine:
                    partition.settled = claimed
        except TimeoutError:
            log.warning("partitions handed over before all that ended was durable", lane=str(lane))

    def revoked(self, lane: Lane, partitions: set[int]) -> None:
        """Forget what has not started; what runs goes on, and is recognised if it is delivered here again."""
        gone = [found for number in partitions if (found := self._partitions.pop((lane, number), None))]
        if not gone:
            return
        for partition in gone:
            partition.revoked = True
            partition.held = None
            partition.parked.clear()
            partition.keys.clear()
            self.flow.forget(partition)
        self._forget_unstarted(lane, lambda work: work.source.partition.revoked)
        self._room[lane].set()
        self._share_rate(lane.type)

    def _share_rate(self, type_name: str) -> None:
        """A type's rate is shared out by partitions: then all workers together never exceed it."""
        mine = sum(lane.type == type_name for lane, _ in self._partitions)
        self._runs.set_share(type_name, mine / self._all_partitions)

    def membership_lost(self, lane: Lane) -> None:
        """Others may have started what runs here: its outcomes count only once it is delivered here again."""
        for work in self._in_flight.values():
            if work.source.partition.lane == lane and work.started_at is not None:
                work.fenced = True

    def _forget_unstarted(self, lane: Lane, unwanted: Callable[[Work], bool]) -> None:
        self._runs.discard(lane, unwanted)
        for key, work in list(self._in_flight.items()):
            if work.started_at is None and not work.published and unwanted(work):
                if work.timer is not None:
                    work.timer.cancel()
                work.fenced = work.disowned = work.ended  # held back until the group answers: others tell of it now
                del self._in_flight[key]

    def committable(self, lane: Lane) -> Mapping[int, tuple[int, str]]:
        """The offset to commit for each partition, with where a successor starts to read ``status``."""
        return {
            number: (offset, self._outcomes.commit_metadata(partition))
            for (of_lane, number), partition in self._partitions.items()
            if of_lane == lane and (offset := partition.committable) is not None
        }

    async def admit(self, lane: Lane, records: Sequence[Record]) -> None:
        """Take records of one partition; returns when the lane has room for more.

        Raises:
            Nothing: a record that is no task goes to the dead letters.
        """
        partition = self._partitions.get((lane, records[0].partition))
        if partition is None or partition.releasing or self._closing:
            return
        deliver = partition.tracker.deliver
        for record in records:
            if deliver(record.offset):
                source = Source(partition, record)
                if partition.held is not None:
                    partition.held.append(source)
                else:
                    self._take(source)
        self._runs.fill(lane.type)
        self.flow.look_at(partition)
        room = self._room[lane]
        while not (partition.revoked or partition.releasing) and (
            self._runs.full(lane) or (partition.held is not None and len(partition.held) >= self._prefetch)
        ):
            room.clear()
            await room.wait()

    # Partitions that came from others -----------------------------------------------------------------------------

    def unopened(self) -> list[Partition]:
        """Partitions whose records wait for ``open_partition``."""
        return [partition for partition in self._partitions.values() if partition.held is not None]

    def open_partition(self, partition: Partition) -> None:
        """``moved_on`` of the partition is complete: start on its records."""
        if partition.revoked or partition.releasing:
            return
        held, partition.held = partition.held, None
        for source in held or ():
            self._take(source)
        self._room[partition.lane].set()
        self._runs.fill(partition.lane.type)

    def with_parked(self) -> list[Partition]:
        """Partitions with works that wait for news from ``status``."""
        return [partition for partition in self._partitions.values() if partition.parked]

    def learned(self, partition: Partition, asked: Iterable[Work], alive: frozenset[str]) -> None:
        """Decide anew about parked works, by what the partition was told and what the group says now.

        Args:
            partition: theirs.
            asked: works that were parked when ``status`` was asked about them.
            alive: the workers in the lane's group, its members, and those gone that may still be heard.
        """
        if partition.revoked or partition.releasing:
            return
        partition.alive = alive
        decided = set(asked)
        partition.parked = [work for work in partition.parked if work not in decided]
        partition.deciding = True
        for work in asked:
            work.looked_up = True
            self._consider(work)
        partition.deciding = False
        self._forget_told(partition)
        self._runs.fill(partition.lane.type)

    def positions(self) -> dict[tuple[Lane, int], int]:
        """The next record to be fetched, of each partition that is open and flows; from any thread."""
        return {
            (found.lane, found.number): found.position
            for found in list(self._partitions.values())
            if found.flowing and self._runs.may_start(found.lane)
        }

    @property
    def unread(self) -> int:
        """Records that wait for what ``status`` tells; from any thread."""
        return sum(len(found.held or ()) + len(found.parked) for found in list(self._partitions.values()))

    # Admission ----------------------------------------------------------------------------------------------------

    def _take(self, source: Source) -> None:
        lane = source.partition.lane
        if source.record.offset < source.partition.start:  # fetched before another owner's commit was known
            self._record_done(source, None)
            return
        try:
            work = self._read(source)
        except Exception as error:  # the boundary of a record: whatever is wrong with it, the next one follows
            if not isinstance(error, ContractError):
                log.exception("record not understood", position=source.position)
            reason = "unknown_type" if not isinstance(error, UndecodableRecordError) else "undecodable"
            log.warning("no task: set aside", lane=str(lane), position=source.position, said=str(error))
            self._outcomes.set_aside(source, describe(error), reason)
            return
        self._enter(work)

    def _enter(self, work: Work) -> None:
        if self._due_changes.stop(work):
            return
        if work.task.ordering_key is None or turns.enter(work):
            self._consider(work)

    def _read(self, source: Source) -> Work:
        record, lane = source.record, source.partition.lane
        task = codec.decode(record.value, Task)
        delivery = read_delivery(record.headers)
        if task.type != lane.type:
            raise UndecodableRecordError(f"a task of type {task.type!r} on a lane of type {lane.type!r}")
        return Work(source, task, self._registry[task.type], delivery)

    def _consider(self, work: Work) -> None:
        """Its turn has come: run it, unless it is over, runs already, or runs elsewhere."""
        partition = work.source.partition
        while (following := self._outcomes.went_on(work.key)) is not None:
            work.delivery = following
        former = self._in_flight.get(work.key)
        if work.doubtful and former is None and not self._outcomes.knows(work.key):
            partition.parked.append(work)
            return
        status = partition.moved_on.get(work.task.id) if partition.moved_on else None
        asks = status is None or self._still_asks(work, status)  # which may name a later run, of a keyed task
        present = self._in_flight.get(work.key) if asks else None
        if former is not None and former is not present:
            former.disowned = former.fenced
        if not asks:
            return
        if self._outcomes.knows(work.key):
            self._acknowledge(work, self._outcomes.marker_of(work.key))
        elif present is None:
            self._in_flight[work.key] = work
            self._when_due(work)
        else:
            if present.fenced:  # it is ours again, and nobody else's: asked above
                present.fenced = present.disowned = present.told_running = False
            if present.source.partition.revoked and present.source.record.offset == work.source.record.offset:
                present.source = work.source
            else:
                present.twins.append(work)

    def _still_asks(self, work: Work, status: Status) -> bool:
        """Whether a record's run is still to be done, by what former owners had told."""
        told, asked = order(status)[:3], work.key[1:]
        if told < asked:
            return True
        if status.state is State.RUNNING:
            if status.worker != self._worker and (status.member or status.worker) in work.source.partition.alive:
                log.info("left alone: it runs on another worker", worker=status.worker, **fields_of(work))
                work.source.partition.parked.append(work)
                return False
            if told == asked:
                return True
        keyed = work.task.ordering_key is not None and status.generation == work.task.generation
        if keyed and not status.state.final:
            work.delivery = next_delivery(status)
            return True
        if told == asked or keyed:  # what may be missing of the step
            self._outcomes.repair(work, status)
        else:
            self._acknowledge(work, work.source.partition.read_from)
        return False

    def _when_due(self, work: Work) -> None:
        """Queue it for a slot once its time has come (a timer may strike a little early: then wait for the rest)."""
        if self._cancellations.stop(work):
            self._runs.withdraw(work)
            return
        due = work.due
        if due is not None:
            wait = (due - self._clock()).total_seconds()
            if wait > 0:
                work.timer = self._loop.call_later(wait + 0.001, self._strike, work)
                return
        expires_at = work.task.expires_at
        if expires_at is not None and expires_at <= self._clock():
            self._runs.expire(work)
            return
        if work.task_type.key_rate is not None and work.task.ordering_key is not None:
            wait = work.source.partition.wait_for_key(
                work.task.ordering_key, work.task_type.key_rate, self._loop.time()
            )
            if wait > 0:
                work.timer = self._loop.call_later(wait, self._strike, work)
                return
        self._runs.add(work)

    def _strike(self, work: Work) -> None:
        work.timer = None
        self._when_due(work)
        self._runs.fill(work.source.partition.lane.type)

    def _certainly_lost(self, work: Work) -> bool:
        """Whether a fenced work's record will not be delivered here again, or has been and asks for nothing more."""
        source = work.source
        partition = self._partitions.get((source.partition.lane, source.partition.number))
        if partition is None:
            return True
        if partition.held is not None or partition.releasing:
            return False
        return work.disowned or source.record.offset < partition.start

    @property
    def in_flight(self) -> Iterable[Work]:
        """What waits here for its time or a slot, runs, or is on its way to the broker."""
        return self._in_flight.values()

    def speaks_for(self, lane: Lane, number: int) -> bool:
        """Whether no other worker can start anything of a partition as long as nothing happens."""
        partition = self._partitions.get((lane, number))
        return partition is not None and not partition.releasing and self._lease_holds(lane)

    def has_open(self, lane: Lane, number: int) -> bool:
        """As ``speaks_for``, and all that was asked before the partition came is known."""
        return self.speaks_for(lane, number) and self._partitions[lane, number].held is None

    def pass_over(self, work: Work) -> None:
        """Nothing comes of a work's record, which never took its turn: another one takes its place."""
        log.info("passed over: due at another time", **fields_of(work))
        self._record_done(work.source, None)

    def take_up(self, work: Work) -> None:
        """A work that waited for a change of its due time may go on."""
        partition = work.source.partition
        if not (partition.revoked or partition.releasing):
            self._enter(work)
            self._runs.fill(partition.lane.type)

    # The end of a run ---------------------------------------------------------------------------------------------

    def _over(self, work: Work, marker: int | None, durable: bool) -> None:
        """A run's outcome is durable, or it was dropped because the worker may not speak for it any more."""
        self._in_flight.pop(work.key, None)
        if not durable:
            return
        if work.ended:
            self._guard.ended(work.task.id, work.task.generation)
            started = Cancelled.BEFORE_START if work.started_at is None else Cancelled.WHILE_RUNNING
            self._cancellations.ended(work.task, started if work.cancelled else None)
        for asking in (work, *work.twins):
            if work.again is None:
                self._acknowledge(asking, marker)
            else:
                self._run_again(asking, work.again, marker)

    def _run_again(self, work: Work, delivery: Delivery, marker: int | None) -> None:
        """Keep the record and its turn, and wait for the next run in place."""
        partition = work.source.partition
        if partition.revoked:
            return
        if marker is not None:
            partition.tracker.note(work.source.record.offset, marker)
        if partition.releasing:  # the next owner goes on from what was just noted
            return
        self._consider(Work(work.source, work.task, work.task_type, delivery))
        self._runs.fill(partition.lane.type)  # it is due already when the broker took its time

    def _acknowledge(self, work: Work, marker: int | None) -> None:
        """Nothing more will come of a work's record."""
        self._record_done(work.source, marker)
        partition = work.source.partition
        # Of a partition that is about to go nothing starts any more: what runs has been claimed already.
        if work.task.ordering_key is not None and not (partition.revoked or partition.releasing):
            following = turns.leave(work)
            if following is not None:
                self._consider(following)
                self._runs.fill(following.source.partition.lane.type)

    def _record_done(self, source: Source, marker: int | None) -> None:
        partition = source.partition
        if partition.revoked:
            return
        partition.tracker.done(source.record.offset, marker)
        self._forget_told(partition)
        if partition.paused:
            self.flow.look_at(partition)

    @staticmethod
    def _forget_told(partition: Partition) -> None:
        """Once nothing is left that could be decided by it."""
        waits = partition.parked or partition.deciding
        if partition.moved_on and not waits and (partition.tracker.committable or 0) >= partition.redelivered_until:
            partition.forget_told()

    # The end ------------------------------------------------------------------------------------------------------

    async def drain(self, within: timedelta) -> None:
        """Start nothing more; let what runs finish and publish, at most ``within``; hand the rest back.

        Delivery: what is cut off is not acknowledged, so another worker runs it.
        """
        self._closing = True
        await self._runs.drain(within)
