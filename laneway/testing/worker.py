"""A worker process that exists only in a test: the real one's parts on a virtual loop and a log in memory."""

import random
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from laneway.kafka.records import TableRecord
from laneway.registry import Registry
from laneway.testing.crashes import Crashes
from laneway.testing.execution import VirtualExecutors, VirtualPool
from laneway.testing.lives import Life
from laneway.testing.log import MemoryLog, ProcessSink, StoredRecord
from laneway.testing.loop import VirtualLoop
from schemas.settings import Settings
from schemas.suspect import Suspect
from schemas.task import Lane, Priority
from schemas.topics import Topics
from streams.control import Control
from streams.counts import Counts
from streams.dispatcher import Dispatcher
from streams.flight import Flight
from streams.guard import CrashGuard
from streams.outcomes import Outcomes
from streams.publisher import Publisher
from streams.runs import Runs
from streams.suspect_log import SuspectLog
from streams.suspects import suspects_of

_TICK: Final = 0.025
_NOBODY_ELSE: Final[frozenset[str]] = frozenset()


@dataclass(frozen=True, kw_only=True)
class World:
    """What outlives a worker process."""

    loop: VirtualLoop
    log: MemoryLog
    topics: Topics
    settings: Settings
    registry: Registry
    crashes: Crashes
    jitter: random.Random
    clock: Callable[[], datetime]
    committed: dict[tuple[Lane, int], int]


class SimulatedWorker:
    """One life of a worker process, from its start to a crash.

    Delivery, ordering, retries and dead letters are those of ``Dispatcher``, ``Runs``, ``Outcomes`` and ``CrashGuard``.
    What stands here is what Kafka, Faust and the supervisor do for them.

    Args:
        world: what it works on.
        number: how many there were before it.
        suspects: tasks that ran in its forerunner when that crashed.
        died: called when it crashes, with the tasks that ran in it.
    """

    def __init__(
        self, world: World, number: int, suspects: Iterable[Suspect], died: Callable[[list[Suspect]], None]
    ) -> None:
        self.types = world.registry.names
        self._world = world
        self._died = died
        self._life = Life()
        self._lanes = [Lane(name, priority) for name in self.types for priority in Priority]
        self._name = f"sandbox-{number}"
        self._feeding: set[tuple[Lane, int]] = set()
        self._positions = dict(world.committed)
        self._commit_due = False
        settings = world.settings
        sink = ProcessSink(
            world.log,
            world.topics,
            world.loop,
            world.crashes,
            lambda: self._life.dead,
            lambda: self.crash("SIGKILL", from_within=False),
            self._commit_soon,
        )
        self._suspect_log = SuspectLog(settings, sink, self._name)
        self._guard = CrashGuard(settings, self._pool(), sink, self._name)
        counts = Counts(self._lanes, clock=world.clock)
        outcomes = Outcomes(
            sink, Publisher(world.topics, settings.kafka.partitions, self._name, world.clock), lambda _: True, counts
        )
        self._runs = Runs(
            settings, world.registry, outcomes, self._guard, lambda _: True, counts, world.clock, world.jitter
        )
        self._runs.executors = VirtualExecutors(
            world.loop,
            self._life,
            world.crashes,
            self._pool(),
            ended=self._runs.ended,
            crashed=lambda how: self.crash(how, from_within=True),
            began=lambda: self._tick_in(settings.worker.running_visible_after + 0.001),
            reported=self._reported,
        )
        self._control = Control(settings, sink, self._name, world.clock)
        self._control.follower = _Known(world.log, self._control.topics, self._control.take)
        self._runs.over_budget = self._control.hold
        self._dispatcher = Dispatcher(
            settings,
            world.registry,
            outcomes,
            self._runs,
            self._guard,
            self._control.cancellations,
            self._control.due_changes,
            lambda _: True,
            self._name,
            world.clock,
        )
        world.loop.spawn(self._take_over(list(suspects)))

    @property
    def idle(self) -> bool:
        """Whether no handler runs in it."""
        return not self._runs.running

    def crash(self, how: str, *, from_within: bool) -> None:
        """Die here and now; nothing that was not appended yet ever is."""
        if self._life.dead:
            return
        known = self._world.log.suspects()
        flights = [
            Flight(
                task_id=work.task.id,
                generation=work.task.generation,
                attempt=work.delivery.attempt,
                deferrals=work.delivery.deferrals,
                type=work.task.type,
                partition=work.source.record.partition,
                started=0.0,
                crashes=known[work.task.id].crashes if work.task.id in known else 0,
                alone=work.task_type.executor == "process"
                or (work.attempt is not None and work.attempt.alone is not None),
            )
            for work in self._runs.running
        ]
        self._life.end()
        self._died(suspects_of(flights, how=how, from_within=from_within, worker=self._name))

    def end(self) -> None:
        """Stop where it is: it is not needed any more."""
        self._life.end()

    def deliver(self, lane: Lane, number: int) -> None:
        """There is something new in a partition of a lane."""
        if not self._life.dead and lane in self._lanes and (lane, number) not in self._feeding:
            self._feeding.add((lane, number))
            self._world.loop.spawn(self._feed(lane, number))

    def take(self, record: TableRecord) -> None:
        """An operator asks for something."""
        if not self._life.dead:
            self._control.take(record)
            # What is about to begin is answered for a moment later.
            self._tick_in(0)
            self._tick_in(_TICK)

    def _pool(self) -> VirtualPool:
        world = self._world
        return VirtualPool(world.loop, self._life, world.crashes, world.settings, world.registry)

    async def _take_over(self, suspects: list[Suspect]) -> None:
        """Learn what the forerunner told, and go on from its last commit."""
        await self._suspect_log.tell(suspects)
        self._guard.learn(self._world.log.suspects().values())
        self._control.start(self._dispatcher, self._runs)
        log, topics = self._world.log, self._world.topics
        partitions = range(self._world.settings.kafka.partitions)
        for lane in self._lanes:
            self._dispatcher.assigned(lane, set(partitions), "")
        for partition in self._dispatcher.unopened():
            lane, number = partition.lane, partition.number
            partition.start = self._positions.setdefault((lane, number), 0)
            partition.redelivered_until = log.end(topics.lane(lane), number)
            if partition.start < partition.redelivered_until:
                partition.told(log.moved_on(number).values())
            self._dispatcher.open_partition(partition)
            self.deliver(lane, number)
        self._tick_in(0)  # what was asked meanwhile is answered

    async def _feed(self, lane: Lane, number: int) -> None:
        """Deliver what there is, as room allows."""
        place = lane, number
        while records := self._world.log.read(self._world.topics.lane(lane), number, self._positions[place]):
            self._positions[place] = records[-1].offset + 1
            self._world.loop.call_soon(self._look_up)
            await self._dispatcher.admit(lane, records)
        self._feeding.discard(place)

    def _look_up(self) -> None:
        """Tell of works that may be over what ``status`` says of them."""
        for partition in self._dispatcher.with_parked():
            partition.told(self._world.log.moved_on(partition.number).values())
            self._dispatcher.learned(partition, list(partition.parked), _NOBODY_ELSE)

    def _reported(self) -> None:
        self._world.loop.call_soon_threadsafe(self._tick_in, _TICK)

    def _tick_in(self, seconds: float) -> None:
        self._world.loop.call_later(seconds, self._tick)

    def _tick(self) -> None:
        if not self._life.dead:
            self._runs.tick()
            self._control.tick()

    def _commit_soon(self) -> None:
        if not self._commit_due:
            self._commit_due = True
            self._world.loop.call_later(self._world.settings.worker.commit_interval, self._commit)

    def _commit(self) -> None:
        self._commit_due = False
        if not self._life.dead:
            for lane in self._lanes:
                for number, (offset, _) in self._dispatcher.committable(lane).items():
                    self._world.committed[lane, number] = offset


class _Known:
    """Tables of the log in memory: what they hold at the start is read here, what comes later is brought."""

    def __init__(self, log: MemoryLog, topics: list[str], take: Callable[[TableRecord], None]) -> None:
        self._log = log
        self._topics = topics
        self._take = take

    def start(self) -> None:
        """Read what there is."""
        for topic in self._topics:
            for record in self._log.read(topic, 0):
                self._take(table_record(record))

    async def current(self, within: timedelta, numbers: Mapping[str, Collection[int]] | None = None) -> None:
        """It always is."""

    async def close(self) -> None:
        """Nothing is held."""

    @property
    def alive(self) -> bool:
        """As long as the process."""
        return True


def table_record(record: StoredRecord) -> TableRecord:
    """A record as a table's reader gets it."""
    return TableRecord(record.topic, record.partition, record.offset, record.key, record.value)
