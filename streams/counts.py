"""What a worker counts for its metrics, in the middle of everything: each count is an addition to a cell."""

from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Final

from laneway.measures import MICROSECONDS, Histogram
from schemas import metrics
from schemas.metrics import DEAD_LETTER_REASONS, OUTCOMES, RETRY_REASONS, Metric
from schemas.status import State
from schemas.task import Lane
from streams.clock import Clock, utc_now
from streams.tally import Tally
from streams.work import Work

GAUGES_EVERY: Final = 1.0


class _LaneCounts:
    __slots__ = ("dead", "ended", "retried", "run", "total", "wait")

    def __init__(self, tally: Tally, lane: Lane) -> None:
        self.wait = tally.histogram(metrics.TASK_WAIT, *lane)
        self.run = tally.histogram(metrics.TASK_RUN, *lane)
        self.total = tally.histogram(metrics.TASK_TOTAL, *lane)
        self.ended = {outcome: tally.at(metrics.TASKS_ENDED, *lane, outcome) for outcome in OUTCOMES}
        self.retried = {reason: tally.at(metrics.TASK_RETRIES, *lane, reason) for reason in RETRY_REASONS}
        self.dead = {reason: tally.at(metrics.DEAD_LETTERS, lane.type, reason) for reason in DEAD_LETTER_REASONS}


class Counts:
    """Counts of one worker process. Methods belong to the worker's loop, but for ``timers``.

    Args:
        lanes: that it works on.
        path: of the file that its supervisor reads; without one the counts are in memory alone.
        clock: the time.
    """

    def __init__(self, lanes: Iterable[Lane], path: Path | None = None, clock: Clock = utc_now) -> None:
        lanes = list(lanes)
        self._clock = clock
        self._tally = tally = Tally(_series(lanes), path)
        self._cells = tally.cells
        self._lanes = {lane: _LaneCounts(tally, lane) for lane in lanes}
        self._runs = tally.at(metrics.WORKER_FINISHED)
        self.delay = tally.histogram(metrics.WORKER_DELAY)
        """Of the worker's loop."""
        self.lateness: Histogram = tally.histogram(metrics.TIMER_LATENESS)
        """Of timers: their thread's alone."""

    def started(self, work: Work) -> None:
        """A run begins."""
        if work.started_at is not None:
            since = work.delivery.not_before or _wanted_since(work)
            self._lanes[work.source.partition.lane].wait.observe((work.started_at - since).total_seconds())

    def ran(self, work: Work) -> None:
        """A run has ended, whatever came of it."""
        self._cells[self._runs] += 1
        if work.started_at is not None:
            self._lanes[work.source.partition.lane].run.observe((self._clock() - work.started_at).total_seconds())

    def over(self, work: Work) -> None:
        """What followed from a run is durable."""
        if work.end is None:  # told by others before, and only published again
            return
        lane = self._lanes[work.source.partition.lane]
        if work.end is State.RETRYING:
            self._cells[lane.retried[work.why]] += 1
            return
        self._cells[lane.ended[work.end.value]] += 1
        if work.end is State.DEAD_LETTERED:
            self._cells[lane.dead[work.why]] += 1
        lane.total.observe((self._clock() - _wanted_since(work)).total_seconds())

    def set_aside(self, lane: Lane, reason: str) -> None:
        """A record that was no task is among the dead letters."""
        self._cells[self._lanes[lane].dead[reason]] += 1

    def tell(self, slots: Iterable[tuple[str, int, int]], *, overdue: float, producer_errors: int) -> None:
        """How things stand now.

        Args:
            slots: each type's, in all and taken.
            overdue: seconds by which a waiting task is late.
            producer_errors: so far.
        """
        cells, at = self._cells, self._tally.at
        for type_name, total, taken in slots:
            cells[at(metrics.SLOTS, type_name)] = total
            cells[at(metrics.SLOTS_TAKEN, type_name)] = taken
        cells[at(metrics.TIMERS_OVERDUE)] = int(overdue * MICROSECONDS)
        cells[at(metrics.WORKER_PRODUCER_ERRORS)] = producer_errors


def _wanted_since(work: Work) -> datetime:
    """Since when a task's first run could have begun."""
    # A replayed task keeps the time at which it was accepted first, as does its shadow; nobody has waited since then.
    task = work.task
    created_at, run_at = task.created_at, task.run_at
    if created_at is None or task.generation > 1 or work.shadow_of is not None:
        return work.source.appended_at
    return created_at if run_at is None or run_at < created_at else run_at


def _series(lanes: list[Lane]) -> Iterator[tuple[Metric, tuple[str, ...]]]:
    for lane in lanes:
        yield from ((metrics.TASKS_ENDED, (*lane, outcome)) for outcome in OUTCOMES)
        yield from ((metrics.TASK_RETRIES, (*lane, reason)) for reason in RETRY_REASONS)
        yield from ((metric, tuple(lane)) for metric in (metrics.TASK_WAIT, metrics.TASK_RUN, metrics.TASK_TOTAL))
    for name in dict.fromkeys(lane.type for lane in lanes):
        yield from ((metrics.DEAD_LETTERS, (name, reason)) for reason in DEAD_LETTER_REASONS)
        yield from ((metric, (name,)) for metric in (metrics.SLOTS, metrics.SLOTS_TAKEN))
    for metric in (
        metrics.WORKER_DELAY,
        metrics.WORKER_FINISHED,
        metrics.WORKER_PRODUCER_ERRORS,
        metrics.TIMERS_OVERDUE,
        metrics.TIMER_LATENESS,
    ):
        yield metric, ()
