"""The worker process: one Faust app for each lane, one dispatcher, one producer, and an orderly end."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog
import uvloop
from faust.types import TP

from laneway import tracing
from laneway.kafka.admin import TopicAdmin
from laneway.kafka.log import CountingSink, open_sink
from laneway.kafka.table import TableFollower
from laneway.measures import measure_delay
from laneway.memory import tame_garbage_collector
from laneway.registry import Registry
from schemas.errors import BrokerUnavailableError, ConfigurationError, UnknownTypeError
from schemas.settings import Settings, variable
from schemas.task import Lane, Priority
from schemas.topics import Topics
from streams.control import Control
from streams.counts import GAUGES_EVERY, Counts
from streams.dispatcher import Dispatcher
from streams.executors import Executors
from streams.flight import Phase, flight_path
from streams.forerunner import Memberships, take_out
from streams.group import client_suffix
from streams.guard import CrashGuard
from streams.lag import LagProbe
from streams.lane_app import LaneApp, start_apps
from streams.outcomes import Outcomes
from streams.processes import ProcessPool
from streams.publisher import Publisher
from streams.reporting import Reports
from streams.runs import Runs
from streams.schedules import Schedules
from streams.takeovers import Takeovers
from streams.tally import tally_path
from streams.timers import Timers
from streams.watch import LoopPulse, Standing, Watch

log = structlog.get_logger(__name__)

_TICK: Final = 0.025
_TRY_AGAIN_AFTER: Final = 1.0
_SWITCH_INTERVAL: Final = 0.001
"""The shorter, the sooner the worker's loop has the interpreter, and the less a handler that computes gets done."""
_BEGIN_BOUND: Final = 10.0
_APP_STOP_BOUND: Final = 10.0
_LAST_APPENDS_WITHIN: Final = 2.0
"""Seconds for what is still unanswered: what counts was waited for in the drain."""


def run(
    settings: Settings,
    registry: Registry,
    *,
    types: list[str] | None = None,
    priorities: list[Priority] | None = None,
    imports: Iterable[str] = (),
) -> int:
    """Run a worker until SIGTERM or SIGINT.

    Args:
        settings: of the process.
        registry: the task types that it knows.
        types: which of them it works on; all by default.
        priorities: which lanes of each; all by default.
        imports: modules that register the handlers, for handler processes to import.

    Returns:
        The exit code: 0 after an orderly stop, 1 when the worker broke down (a supervisor starts it again).

    Raises:
        ConfigurationError: an unknown type, topics that are missing or differ, or no secret for callbacks.
    """
    try:
        chosen = registry.only(types) if types else registry
    except UnknownTypeError as error:
        raise ConfigurationError("--types", error.type_name, f"known types: {', '.join(error.known)}") from None
    if types and chosen.own and settings.callbacks.secrets is None:
        raise ConfigurationError(variable("callbacks.secrets"), None, f"a secret, to run {', '.join(chosen.own)}")
    names = [*chosen.names, *(chosen.own if settings.callbacks.secrets is not None else [])]
    lanes = [Lane(name, priority) for name in names for priority in priorities or list(Priority)]
    worker = Worker(settings, chosen, lanes, list(imports))
    tracing.start("laneway-worker")
    # Handlers' loops and threads share the interpreter with the worker's own loop, which must not wait long for it.
    sys.setswitchinterval(_SWITCH_INTERVAL)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        code = runner.run(worker.run())
        tracing.stop()
        if worker.threads_busy:
            # asyncio waits for what it cancels, and Python joins every thread before it ends: neither may ever return.
            log.warning("ends with threads left behind; tasks of theirs were timed out or handed back")
            logging.shutdown()
            os._exit(code)
    return code


class Worker:
    """Everything that one worker process holds."""

    def __init__(self, settings: Settings, registry: Registry, lanes: list[Lane], imports: list[str]) -> None:
        self._settings = settings
        self._registry = registry
        self._lanes = lanes
        self._topics = Topics(settings.kafka.topic_prefix)
        # With the process id: a lease is told by this name, and must not pass on to whoever is started in its place.
        self.name = f"{settings.worker.name or socket.gethostname()}-{os.getpid()}"
        self._pulse = LoopPulse("main")
        self._lag_probe = LagProbe(settings)
        self._imports = imports
        self._counts = Counts(lanes, tally_path(settings))
        self._timers = Timers(settings, self._counts.lateness.observe)
        self._schedules = Schedules(settings, self.name)
        self._stop: asyncio.Event
        self._apps: dict[Lane, LaneApp] = {}
        self._lanes_left = False
        self._dispatcher: Dispatcher
        self._runs: Runs
        self._executors: Executors
        self._guard: CrashGuard
        self._control: Control
        self._takeovers: Takeovers
        self._reports: Reports
        path = flight_path(settings)
        self._memberships = Memberships(path.with_suffix(".members") if path is not None else None)

    @property
    def threads_busy(self) -> bool:
        """Whether handlers still run in threads, or lanes that did not stop in time."""
        return self._lanes_left or (hasattr(self, "_executors") and self._executors.threads_busy)

    async def run(self) -> int:
        """Work until a signal or a breakdown."""
        loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        if not await self._topics_there():
            return 0
        producer = open_sink(self._settings, self.name)
        publisher = Publisher(self._topics, self._settings.kafka.partitions, self.name)
        outcomes = Outcomes(producer, publisher, self._lease_holds, self._counts)
        guard = CrashGuard(
            self._settings,
            ProcessPool(self._settings, self._imports, self._settings.worker.processes),
            producer,
            self.name,
        )
        watch = Watch(
            self._pulse,
            self._standing,
            ended_after=self._settings.worker.stall_timeout,
            standstill_after=self._settings.worker.standstill_timeout,
            lag=self._lag,
            recorder=guard.recorder,
        )
        self._guard = guard
        self._runs = Runs(
            self._settings,
            self._registry,
            outcomes,
            guard,
            self._lease_holds,
            self._counts,
            high_comes=any(lane.priority is Priority.HIGH for lane in self._lanes),
        )
        self._runs.worker = self.name
        self._executors = Executors(
            self._settings, self._imports, self._runs.ended, self._runs.fill, watch.loops.append
        )
        self._runs.executors = self._executors
        control = self._control = Control(self._settings, producer, self.name)
        control.follower = TableFollower(self._settings, control.topics, control.take, f"{self.name}-control")
        self._runs.over_budget = control.hold
        self._dispatcher = Dispatcher(
            self._settings,
            self._registry,
            outcomes,
            self._runs,
            guard,
            control.cancellations,
            control.due_changes,
            self._lease_holds,
            self.name,
        )
        self._apps = {
            lane: LaneApp(lane, self._settings, self._dispatcher, client_id=f"{self.name}{client_suffix(lane)}")
            for lane in self._lanes
        }
        self._takeovers = Takeovers(self._settings, self._dispatcher, guard, control, self._apps)
        self._reports = Reports(self._settings, producer, self.name, self._shares, self._runs, lambda: guard.finished)
        forerunner = take_out(self._settings, self._memberships)
        background = [loop.create_task(job) for job in (self._pulse.keep(), forerunner)]
        watch.start()
        await guard.take_over()
        control.start(self._dispatcher, self._runs)
        measuring = (measure_delay(self._counts.delay), self._tell_gauges(producer))
        jobs = (self._tick(), self._takeovers.run(), self._control_flow(), *measuring)
        background += [loop.create_task(job) for job in jobs]
        self._timers.start()
        self._schedules.start()
        code = 0
        try:
            await start_apps(list(self._apps.values()))
            await self._begun()
            tame_garbage_collector()
            background.append(loop.create_task(self._reports.run()))
            guard.enter(Phase.READY)
            log.info("worker ready", worker=self.name, lanes=len(self._lanes), slots=self._settings.worker.concurrency)
            code = await self._watch(background)
        finally:
            await self._end(background, producer)
        watch.stop()
        if code == 0:
            guard.enter(Phase.STOPPED)
        log.info("worker stopped", worker=self.name)
        return code

    def _lease_holds(self, lane: Lane) -> bool:
        return self._apps[lane].lease_holds

    def _shares(self) -> dict[Lane, list[int]]:
        return {lane: [tp.partition for tp in app.consumer.assignment()] for lane, app in self._apps.items()}

    def _members(self) -> dict[str, str]:
        """As which member each group knows this process, as far as it has joined them."""
        joined = {group.group: group.member_id for group in (self._timers.membership, self._schedules.membership)}
        joined |= {self._topics.group(lane): app.joining_as for lane, app in self._apps.items()}
        return {group: member_id for group, member_id in joined.items() if member_id}

    def _standing(self) -> Standing:
        """For the watch: from a thread of its own."""
        running, waiting = len(self._runs.running), self._runs.waiting
        unread = self._dispatcher.unread
        excused = self._stop.is_set()
        return Standing(self._guard.finished, running, waiting, unread, self._takeovers.steps, excused=excused)

    def _lag(self) -> int | None:
        positions = self._dispatcher.positions()
        return self._lag_probe.lag({(self._topics.lane(lane), number): at for (lane, number), at in positions.items()})

    async def _topics_there(self) -> bool:
        """Wait for the broker and hold its topics against the contract; False when asked to stop meanwhile."""
        specs = self._topics.specs(
            self._registry.names,
            partitions=self._settings.kafka.partitions,
            replication_factor=self._settings.kafka.replication_factor,
        )
        admin = TopicAdmin(self._settings)
        while not self._stop.is_set():
            try:
                await asyncio.to_thread(admin.verify, specs)
            except BrokerUnavailableError as error:
                log.warning("waiting for the broker", said=str(error))
                await self._sleep(_TRY_AGAIN_AFTER)
            else:
                return True
        return False

    async def _begun(self) -> None:
        """Wait, within bounds, until tasks start: its first partitions are open, and the ladder moves.

        Whoever waits for a worker to be ready, such as a rolling restart, waits for that.
        """
        deadline = asyncio.get_running_loop().time() + _BEGIN_BOUND
        while self._timers.alive and not self._stop.is_set():
            if self._timers.joined and not self._dispatcher.unopened():
                return
            if asyncio.get_running_loop().time() > deadline:
                log.warning("ready, but not all of it is at work yet", seconds=_BEGIN_BOUND)
                return
            await self._sleep(_TICK)

    async def _watch(self, background: list["asyncio.Task[None]"]) -> int:
        """Wait for the signal to stop; a part that breaks down ends the worker, for a supervisor to start it again."""
        while not self._stop.is_set():
            await self._sleep(0.2)
            for task in background:
                if task.done() and not task.cancelled() and task.exception() is not None:
                    log.error("a part of the worker broke down", exc_info=task.exception())
                    return 1
            for app in self._apps.values():
                if app.crashed or app.should_stop:
                    log.error("a lane broke down", lane=str(app.lane), said=repr(app.crash_reason))
                    return 1
            if not self._control.follower.alive:
                log.error("what operators ask for is not read any more")
                return 1
            if not self._timers.alive:
                log.error("the timers broke down")
                return 1
            if not self._schedules.alive:
                log.error("the schedules broke down")
                return 1
        return 0

    async def _end(self, background: list["asyncio.Task[None]"], producer: CountingSink) -> None:
        """Drain, commit, leave the groups, and only then let go of the producer."""
        await self._dispatcher.drain(timedelta(seconds=self._settings.worker.drain_timeout))
        stopping = asyncio.gather(*(app.stop() for app in self._apps.values()), return_exceptions=True)
        try:
            await asyncio.wait_for(stopping, _APP_STOP_BOUND)
        except TimeoutError:
            self._lanes_left = True
            log.warning("a lane did not stop in time; its group notices by its session time-out")
        await asyncio.gather(asyncio.to_thread(self._timers.stop), asyncio.to_thread(self._schedules.stop))
        for task in background:
            task.cancel()
        await asyncio.gather(*background, return_exceptions=True)
        await self._control.close()
        await self._reports.farewell()
        await producer.close(within=_LAST_APPENDS_WITHIN)
        await self._executors.close()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(_TICK)
            self._runs.tick()
            self._control.tick()
            self._memberships.note(self._members())

    async def _tell_gauges(self, producer: CountingSink) -> None:
        types = {lane.type for lane in self._lanes}
        while True:
            slots = [each for each in self._runs.slots() if each[0] in types]
            overdue = self._timers.overdue(datetime.now(UTC))
            self._counts.tell(slots, overdue=overdue, producer_errors=producer.failures)
            await asyncio.sleep(GAUGES_EVERY)

    async def _control_flow(self) -> None:
        """Stop fetching partitions whose head holds too much back, and start again when it is through."""
        paused: set[tuple[Lane, int]] = set()
        apps, flow = self._apps, self._dispatcher.flow
        while True:
            await flow.changed.wait()
            flow.changed.clear()
            wanted = set(flow.paused)
            for lane, number in wanted - paused:
                apps[lane].consumer.pause_partitions({TP(apps[lane].lane_topic, number)})
                log.warning("partition paused: its head holds too much back", lane=str(lane), partition=number)
            for lane, number in paused - wanted:
                tp = TP(apps[lane].lane_topic, number)
                if tp in apps[lane].consumer.assignment():
                    apps[lane].consumer.resume_partitions({tp})
            paused = wanted

    async def _sleep(self, seconds: float) -> None:
        """Sleep, or wake up early when asked to stop."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), seconds)
