"""Runs of handlers: who gets the next slot, and what follows from what a handler did."""

import asyncio
import random
import traceback as tracebacks
from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import timedelta
from functools import partial
from typing import Any, Final, Protocol

import structlog
from msgspec import Raw

from laneway import crashpoints, tracing
from laneway.context import Context
from laneway.files import FileStore
from laneway.registry import Registry, TaskType
from schemas.errors import LanewayError, TaskCancelledError
from schemas.headers import trace_id_of
from schemas.retry import Cancel, Retry, Verdict, describe, verdict
from schemas.settings import Settings
from schemas.status import Progress, State
from schemas.task import Lane, Priority
from streams import spans
from streams.attempt import Attempt, LeaseUncertainError
from streams.budget import WINDOW, DeadLetterBudget
from streams.clock import Clock, utc_now
from streams.counts import Counts
from streams.guard import CrashGuard
from streams.outcomes import Outcomes
from streams.rates import TokenBucket
from streams.scheduler import Room, SlotScheduler
from streams.work import Work

log = structlog.get_logger(__name__)

MAX_TRACEBACK: Final = 8_000
_LONGEST_THROTTLE: Final = 60.0
HAND_BACK_WITHIN: Final = 1.0
"""Seconds that cancelled handlers have to end before they are left to themselves."""


class Executor(Protocol):
    """Runs attempts and reports their ends; see ``Executors`` for what holds."""

    def room(self, task_type: TaskType) -> Room:
        """For whom of a type there is room: an attempt of theirs would be begun soon."""

    def start(self, attempt: Attempt[Any]) -> None:
        """Begin an attempt."""

    def cancel(self, attempt: Attempt[Any]) -> None:
        """Have an attempt end early, if it can be."""

    def call_off(self, attempt: Attempt[Any], grace: float) -> None:
        """The task is cancelled."""

    def collect(self) -> None:
        """Take what has ended."""

    def look_after(self, attempts: Iterable[Attempt[Any]]) -> None:
        """End those that are past their time-out."""


class Runs:
    """The slots of each type, what runs in them, and what waits for them."""

    def __init__(
        self,
        settings: Settings,
        registry: Registry,
        outcomes: Outcomes,
        guard: CrashGuard,
        lease_holds: Callable[[Lane], bool],
        counts: Counts,
        clock: Clock = utc_now,
        jitter: random.Random | None = None,
        *,
        high_comes: bool = True,
    ) -> None:
        self.executors: Executor
        """Where attempts run; it tells ``ended`` of each end, and ``fill`` of room."""
        self.room: Callable[[Lane], None]
        """Called with a lane of which few wait for a slot."""
        self.over_budget: Callable[[Lane, str], None]
        """Called with a lane that makes too many dead letters, and with the reason to hold it."""
        self.worker = ""
        """Name of the process, for spans."""
        self.handed_back: Callable[[Work], object]
        """Gets each work that was cut off by the end of the worker."""
        self._settings = settings
        self._registry = registry
        self._outcomes = outcomes
        self._guard = guard
        self._lease_holds = lease_holds
        self._counts = counts
        self._loop = asyncio.get_running_loop()
        self._files = FileStore(settings.files_dir)
        self._clock = clock
        self._jitter = jitter
        self._slots: dict[str, SlotScheduler[Work]] = {
            task_type.name: SlotScheduler(settings.worker.concurrency, clock=self._loop.time, high_comes=high_comes)
            for task_type in registry.every
        }
        self._prefetch = prefetch_for(settings)
        self._rates = {
            task_type.name: TokenBucket(task_type.rate, self._loop.time())
            for task_type in registry.every
            if task_type.rate is not None
        }
        self._throttled: dict[str, asyncio.TimerHandle] = {}
        self._budgets: defaultdict[Lane, DeadLetterBudget] = defaultdict(
            lambda: DeadLetterBudget(settings.worker.dead_letter_budget)
        )
        self._closing = False
        self._tells_all = settings.log.level == "DEBUG"
        self._doubtful: list[Work] = []
        self.running: set[Work] = set()

    def add(self, work: Work) -> None:
        """Let a work that is due wait for a slot; ``fill`` gives it one."""
        lane = work.source.partition.lane
        self._slots[lane.type].add(lane.priority, work)

    def discard(self, lane: Lane, unwanted: Callable[[Work], bool]) -> None:
        """Forget those of a lane that wait and are ``unwanted``."""
        if lane.type in self._slots:
            self._slots[lane.type].discard(lane.priority, unwanted)
        self._doubtful = [work for work in self._doubtful if not unwanted(work)]

    @property
    def waiting(self) -> int:
        """Works that wait for nothing but a slot."""
        return sum(
            slots.waiting(priority)
            for name, slots in self._slots.items()
            for priority in Priority
            if self.may_start(Lane(name, priority))
        )

    def slots(self) -> list[tuple[str, int, int]]:
        """Each type with its slots, in all and taken."""
        return [(name, slots.slots, slots.running) for name, slots in self._slots.items()]

    def hold(self, lane: Lane, *, held: bool) -> bool:
        """Start nothing of a lane any more, or again; what runs goes on. Says whether that is news."""
        slots = self._slots.get(lane.type)
        if slots is None or slots.held(lane.priority) == held:
            return False
        slots.hold(lane.priority, held=held)
        if not held:
            self.fill(lane.type)
        return True

    def held(self, lane: Lane) -> bool:
        """Whether a lane is held."""
        return self._slots[lane.type].held(lane.priority)

    def may_start(self, lane: Lane) -> bool:
        """Whether a free slot is all that tasks of a lane wait for: it is not held, and its type's rate not used up."""
        return not self.held(lane) and lane.type not in self._throttled

    def set_share(self, type_name: str, share: float) -> None:
        """Say which part of a type's rate is this worker's: that of its partitions."""
        bucket = self._rates.get(type_name)
        if bucket is not None and bucket.share != share:
            bucket.set_share(share, self._loop.time())
            throttled = self._throttled.pop(type_name, None)
            if throttled is not None:
                throttled.cancel()
            self.fill(type_name)

    def full(self, lane: Lane) -> bool:
        """Whether enough of a lane wait for a slot."""
        return self._slots[lane.type].waiting(lane.priority) >= self._prefetch

    def fill(self, type_name: str) -> None:
        """Give every free slot to the task whose turn it is."""
        slots = self._slots[type_name]
        room, task_type = self.executors.room, self._registry[type_name]
        bucket = self._rates.get(type_name)
        while not self._closing and (for_whom := room(task_type)) is not Room.NONE:
            if bucket is not None and self._throttle(type_name, bucket):
                break
            work = slots.take(for_whom)
            if work is None:
                break
            lane = work.source.partition.lane
            if work.task.expires_at is not None and work.task.expires_at <= self._clock():
                slots.release(lane.priority)
                self.expire(work)
            elif self._lease_holds(lane):
                if bucket is not None:
                    bucket.take()
                self._start(work)
            else:  # somebody else may have it by now: not before the group has answered
                slots.release(lane.priority)
                self._doubtful.append(work)
            if slots.waiting(lane.priority) <= self._prefetch // 2:
                self.room(lane)

    def expire(self, work: Work) -> None:
        """It had not started in time."""
        log.info("expired before it started", **fields_of(work))
        work.ended = True
        self._outcomes.finished(work, State.EXPIRED)

    def call_off(self, work: Work) -> None:
        """Its task is cancelled while it runs, or is about to."""
        if work.attempt is not None and not work.called_off:
            work.called_off = True
            self.executors.call_off(work.attempt, self._settings.worker.cancel_grace)

    def withdraw(self, work: Work) -> None:
        """Its task is cancelled before it started."""
        if work.timer is not None:
            work.timer.cancel()
        lane = work.source.partition.lane
        self.discard(lane, lambda other: other is work)
        log.info("cancelled before it started", **fields_of(work))
        work.ended = work.cancelled = True
        self._outcomes.finished(work, State.CANCELLED)
        self.room(lane)

    def _throttle(self, type_name: str, bucket: TokenBucket) -> bool:
        """Whether a type has to wait for its rate; it is filled again then."""
        if type_name in self._throttled:
            return True
        wait = bucket.wait(self._loop.time())
        if wait <= 0:
            return False
        # Without a partition it has no part of the rate, and nothing to start either.
        self._throttled[type_name] = self._loop.call_later(min(wait, _LONGEST_THROTTLE), self._unthrottle, type_name)
        return True

    def _unthrottle(self, type_name: str) -> None:
        del self._throttled[type_name]
        self.fill(type_name)

    def _start(self, work: Work) -> None:
        if crashpoints.armed:
            crashpoints.reached("before_claim")
        task, task_type = work.task, work.task_type
        seconds = task.timeout
        timeout = timedelta(seconds=seconds) if seconds is not None else task_type.timeout
        work.started_at = self._clock()
        context = Context(
            task_id=work.shadow_of or task.id,
            type=task.type,
            priority=task.priority,
            attempt=work.delivery.attempt,
            max_attempts=work.max_attempts,
            generation=task.generation,
            labels=task.labels,
            deadline=work.started_at + timeout if timeout else None,
            settings=self._settings,
            files=self._files,
            report=partial(self._report, work),
            shadow=work.shadow_of is not None,
        )
        payload = bytes(task.payload)
        work.attempt = Attempt(work, task_type, payload, context, timeout, urgent=work.urgent)
        work.attempt.may_begin = partial(self._may_begin, work)
        suspect = self._guard.suspect(task.id, task.generation)
        if suspect is not None:
            work.attempt.alone = partial(self._guard.run_alone, suspect, task_type, payload, context, timeout)
        else:
            work.flight = self._guard.begin(work)
        if tracing.tracer is not None:
            work.attempt.span = work.span = spans.attempt(work, self.worker)
        self.running.add(work)
        self._counts.started(work)
        self.executors.start(work.attempt)

    def _may_begin(self, work: Work) -> bool:
        """From any thread."""
        return not work.fenced and self._lease_holds(work.source.partition.lane)

    def _report(self, work: Work, progress: Progress) -> None:
        """From any thread."""
        work.progress = progress
        work.untold_progress = True

    def ended(self, work: Work, result: Raw | BaseException) -> None:
        """A handler has returned or raised, or was given up."""
        lane = work.source.partition.lane
        begun = work.attempt is None or work.attempt.begun
        in_company = work.flight is not None and work.task_type.executor != "process"
        work.attempt = None  # they know each other: without this only the garbage collector would part them
        self.running.discard(work)
        self._counts.ran(work)
        self._slots[lane.type].release(lane.priority)
        if work.flight is not None:
            self._guard.end(work.flight)
            work.flight = None
        if work.span is not None:
            spans.result(work, result)
        if isinstance(result, Raw) and work.shadow_of is None:
            if self._tells_all:
                log.debug("ran", **fields_of(work))
            work.ended = True
            self._spend(work, dead=False)
            self._outcomes.finished(work, State.SUCCEEDED, result=result)
        elif isinstance(result, asyncio.CancelledError | TaskCancelledError) and self._closing and not work.called_off:
            self.handed_back(work)  # no acknowledgement: another worker takes it
        elif isinstance(result, LeaseUncertainError) and not work.called_off:
            work.started_at = None
            partition = work.source.partition
            if (partition.revoked or partition.releasing) and not work.twins:
                self.handed_back(work)  # whoever has the partition gets its record
            else:
                self._doubtful.append(work)
        elif isinstance(result, MemoryError) and in_company and not work.called_off:
            # Whoever asked for the last bit of memory need not be the one who took it all: no attempt is spent.
            log.warning("out of memory, runs again alone", **fields_of(work))
            self._guard.doubt(work, "MemoryError")
            work.started_at = None  # it waits as any other
            self.add(work)
        elif work.shadow_of is not None:
            self._compared(work, result)
        elif not isinstance(result, Raw):
            self._failed(work, result, begun=begun)
        if work.span is not None:
            spans.over(work)
        self.fill(lane.type)

    def _compared(self, work: Work, result: Raw | BaseException) -> None:
        """A shadow run is over: it is not run again, is nobody's dead letter and spends no budget."""
        work.ended = True
        if isinstance(result, Raw):
            self._outcomes.shadowed(work, State.SUCCEEDED, result=result)
            return
        cancelled = isinstance(result, asyncio.CancelledError | TaskCancelledError)
        log.info("shadow run failed", error=repr(result), **fields_of(work))
        state = State.CANCELLED if cancelled else State.DEAD_LETTERED
        self._outcomes.shadowed(work, state, error=describe(result))

    def _failed(self, work: Work, error: BaseException, *, begun: bool) -> None:
        if work.called_off and isinstance(error, asyncio.CancelledError):
            error = TaskCancelledError("cancelled while it ran; its handler was stopped")
        follows: Verdict = verdict(
            error,
            attempt=work.delivery.attempt,
            max_attempts=work.max_attempts,
            policy=work.task_type.retry,
            rng=self._jitter,
        )
        if work.called_off:
            follows = Cancel(describe(error))
        level = error.log_level if isinstance(error, LanewayError) else 30
        told = None if isinstance(error, LanewayError) else "".join(tracebacks.format_exception(error))[-MAX_TRACEBACK:]
        fields = fields_of(work)
        work.ended = not isinstance(follows, Retry)
        if isinstance(follows, Retry):
            due = self._clock() + follows.delay
            log.log(level, "runs again", error=repr(error), in_seconds=follows.delay.total_seconds(), **fields)
            spans.again(work, follows.delay.total_seconds())
            self._outcomes.retrying(work, follows, due, traceback=told)
        elif isinstance(follows, Cancel):
            log.log(level, "cancelled", said=str(error), **fields)
            work.cancelled = True
            if not begun:
                work.started_at = None
            self._outcomes.finished(work, State.CANCELLED, error=follows.error)
        else:
            log.log(level, "dead letter", reason=follows.reason, error=repr(error), **fields)
            self._outcomes.dead_lettered(work, follows.reason, follows.error, traceback=told)
            self._spend(work, dead=True)

    def _spend(self, work: Work, *, dead: bool) -> None:
        """Count an end against the lane's budget of dead letters; hold the lane when that is used up.

        Not for Laneway's own types: what ends callbacks is their receivers, and one must not hold up the others.
        """
        lane = work.source.partition.lane
        if not self._settings.worker.dead_letter_budget or work.task_type.own:
            return
        budget = self._budgets[lane]
        if budget.count(self._loop.time(), dead=dead) and not self.held(lane):
            reason = (
                f"dead-letter budget used up: {budget.dead} of {budget.ended} tasks that ended within"
                f" {WINDOW:g} s became dead letters; mend the cause, then resume the lane"
            )
            log.error("lane held", lane=str(lane), reason=reason)
            budget.renew()
            self.over_budget(lane, reason)

    def tick(self) -> None:
        """Look after what runs: time-outs, ``running`` for what has run for a while, progress; many times a second."""
        self.executors.collect()
        self.executors.look_after(work.attempt for work in self.running if work.attempt is not None)
        now = self._clock()
        bound = timedelta(seconds=self._settings.worker.running_visible_after)
        for work in self.running:
            if work.started_at is None or now - work.started_at < bound or work.fenced or work.shadow_of is not None:
                continue
            if not work.told_running or work.untold_progress:
                work.told_running, work.untold_progress = True, False
                self._outcomes.tell_running(work)
        self._outcomes.publish_held_back()
        if self._doubtful:
            doubtful, self._doubtful = self._doubtful, []
            for work in doubtful:
                self.add(work)
            for type_name in {work.task.type for work in doubtful}:
                self.fill(type_name)

    async def drain(self, within: timedelta) -> None:
        """Start nothing more; let what runs finish and publish, at most ``within``; hand the rest back.

        Delivery: what is cut off is not acknowledged, so another worker runs it.
        """
        for slots in self._slots.values():
            slots.slots = 0
        deadline = self._loop.time() + within.total_seconds()
        while (self.running or self._outcomes.unfinished) and self._loop.time() < deadline:  # noqa: ASYNC110  (rarely looked at)
            await asyncio.sleep(0.02)
        self._closing = True
        cut_off = [work.attempt for work in self.running if work.attempt is not None]
        if cut_off:
            log.warning("handed back: still running at the end of the drain", tasks=len(cut_off))
        for attempt in cut_off:
            self.executors.cancel(attempt)
        deadline = self._loop.time() + HAND_BACK_WITHIN
        while self.running and self._loop.time() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        self._outcomes.closing = True


def fields_of(work: Work) -> dict[str, object]:
    """A work as it is told in the log."""
    traceparent = work.traceparent
    return {
        "task_id": work.task.id,
        "lane": str(work.source.partition.lane),
        "attempt": work.delivery.attempt,
        "position": work.source.position,
        **({} if traceparent is None else {"trace_id": trace_id_of(traceparent)}),
    }


def prefetch_for(settings: Settings) -> int:
    """How many tasks of a lane wait in the worker: few, so that a restart repeats little; enough to keep slots busy."""
    return max(32, 2 * settings.worker.concurrency)
