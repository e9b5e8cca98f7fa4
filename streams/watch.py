"""The watch in a worker process: a thread of its own that notices when loops, or everything, stand still."""

import asyncio
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

import structlog

from streams.flight import FlightRecorder

log = structlog.get_logger(__name__)

STALLED: Final = 70
"""Exit code of a worker process that ended itself because it stood still; its supervisor starts it again."""
BEAT_EVERY: Final = 0.25
LOOK_EVERY: Final = 0.5
TOLD_AFTER: Final = 5.0
"""Seconds that the main loop stands still before it is told."""
UNREAD_AFTER: Final = 60.0
"""Seconds without a try to read ``status`` while records wait for it that end the process; a try is bounded."""
BLOCKED_AFTER: Final = 2.0
"""Seconds that a handler may block its loop; with a look each half second it is told within three."""

_LONGEST_GAP: Final = 2.0
_MOST_FRAMES: Final = 40


class Stillness:
    """How long a value was seen unchanged.

    A gap between two looks counts as ``longest_gap`` at most: when the whole process was stopped, or the machine slept,
    nobody looked, and nothing stood still for it.
    """

    def __init__(self, longest_gap: float = _LONGEST_GAP) -> None:
        self._longest_gap = longest_gap
        self._value: object = None
        self._looked_at: float | None = None
        self._seconds = 0.0

    def look(self, now: float, value: object) -> float:
        """Seconds for which the value has been this one."""
        if self._looked_at is None or value != self._value:
            self._seconds = 0.0
        else:
            self._seconds += min(now - self._looked_at, self._longest_gap)
        self._value, self._looked_at = value, now
        return self._seconds

    def forget(self) -> None:
        """Begin anew."""
        self._looked_at = None


@dataclass(eq=False)
class LoopPulse:
    """What an event loop tells the watch: ``keep`` runs on it as a task."""

    name: str
    """The type whose handlers run on it, or what else it is for."""
    thread_id: int = 0
    beats: int = 0
    busy: bool = True
    """Whether it has work. One that has none is not judged."""

    async def keep(self) -> None:
        """Beat until cancelled."""
        self.thread_id = threading.get_ident()
        while True:
            self.beats += 1
            await asyncio.sleep(BEAT_EVERY)


class Standing(NamedTuple):
    """How the worker's tasks stand, as plain numbers that any thread may read."""

    finished: int
    """Runs that ended so far."""
    running: int
    waiting: int
    """Records here that could start now; none that waits for its time, its key or for what ``status`` tells."""
    unread: int = 0
    """Records that wait for what ``status`` tells."""
    reads: int = 0
    """Grows with every try to read ``status``, with success or without, and with what is read."""
    excused: bool = False
    """Whether standing still is in order: it starts, or it drains."""


class Finding(StrEnum):
    """What the vigil found."""

    LOOP_STANDS = "the main loop stands still"
    LOOP_DEAD = "the main loop stood still for too long"
    STANDSTILL = "nothing runs and nothing ends while records wait"
    UNREAD = "status is not read while records wait for it"


class Vigil:
    """Judges what the watch sees; pure, with the time given.

    Args:
        ended_after: seconds of a main loop without a beat that end the process.
        standstill_after: seconds without a run, with records waiting, that end the process.
    """

    def __init__(self, *, ended_after: float, standstill_after: float) -> None:
        self._ended_after = ended_after
        self._standstill_after = standstill_after
        self._beats = Stillness()
        self._finished = Stillness()
        self._reads = Stillness()
        self._told = False
        self._ask_at = 0.0
        self._lagged = False
        self.still_for = 0.0
        """Seconds that belong to the last finding."""

    def look(self, now: float, beats: int, standing: Standing, lag: Callable[[], int | None]) -> Finding | None:
        """Judge once.

        Args:
            now: monotonic.
            beats: of the main loop.
            standing: of the tasks.
            lag: records on the broker that nobody fetched, ``None`` when it cannot be asked; asked only when needed.
        """
        still = self._beats.look(now, beats)
        if still > TOLD_AFTER:
            self._finished.forget()
            self.still_for = still
            if still > self._ended_after:
                return Finding.LOOP_DEAD
            told, self._told = self._told, True
            return None if told else Finding.LOOP_STANDS
        self._told = False
        if standing.excused:
            self._finished.forget()
            self._reads.forget()
            return None
        if not standing.unread:
            self._reads.forget()
        elif (unread_for := self._reads.look(now, standing.reads)) > UNREAD_AFTER:
            self.still_for = unread_for
            return Finding.UNREAD
        if standing.running:
            self._finished.forget()
            return None
        still = self._finished.look(now, standing.finished)
        if not (standing.waiting or self._lags(now, still, lag)):
            # Nothing waits, or the broker is away: neither is the worker's fault.
            self._finished.forget()
            return None
        if still <= self._standstill_after:
            return None
        self.still_for = still
        return Finding.STANDSTILL

    def _lags(self, now: float, still: float, lag: Callable[[], int | None]) -> bool:
        if now >= self._ask_at or still > self._standstill_after:
            self._ask_at = now + self._standstill_after / 6
            self._lagged = bool(lag())
        return self._lagged


class BlockedLoops:
    """Notices handler loops that stand still; pure, with the time given."""

    def __init__(self, blocked_after: float = BLOCKED_AFTER) -> None:
        self._blocked_after = blocked_after
        self._stillness: dict[LoopPulse, Stillness] = {}
        self._told: set[LoopPulse] = set()

    def look(self, now: float, pulses: Iterable[LoopPulse]) -> list[LoopPulse]:
        """Loops that are blocked since the last look: each is told once for each time that it is."""
        blocked = []
        for pulse in pulses:
            still = self._stillness.setdefault(pulse, Stillness()).look(now, pulse.beats)
            if not pulse.busy or still <= self._blocked_after:
                self._told.discard(pulse)
            elif pulse not in self._told:
                self._told.add(pulse)
                blocked.append(pulse)
        return blocked


class Watch:
    """Looks after a worker process, twice a second, from a thread that no loop can hold up.

    A main loop that stands still is told after 5 seconds, with its stack. After ``ended_after`` seconds, or when tasks
    stand still while records wait, or when nobody reads ``status`` while they wait for that, every thread's stack is
    logged and the process ends with ``STALLED``: Faust's consumers are known to stand still for good, and a new process
    is what helps. What holds the interpreter's lock holds this thread, too; then the supervisor, which misses its
    looks, ends the process.

    Args:
        main: the main loop's pulse.
        standing: how the tasks stand; called from the watch's thread.
        ended_after: see above, in seconds.
        standstill_after: seconds without a run while records wait.
        lag: records on the broker that nobody fetched, ``None`` when it cannot be asked; may block.
        recorder: where the supervisor reads how it goes.
    """

    def __init__(
        self,
        main: LoopPulse,
        standing: Callable[[], Standing],
        *,
        ended_after: float,
        standstill_after: float,
        lag: Callable[[], int | None] = lambda: 0,
        recorder: FlightRecorder | None = None,
    ) -> None:
        self.loops: list[LoopPulse] = [main]
        """Handler loops to look after: append theirs."""
        self.blocked = 0
        """How often a handler blocked its loop."""
        self.stalls = 0
        """How often the main loop stood still."""
        self._main = main
        self._standing = standing
        self._lag = lag
        self._known_lag = 0
        self._recorder = recorder
        self._vigil = Vigil(ended_after=ended_after, standstill_after=standstill_after)
        self._blocked_loops = BlockedLoops()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more; returns once the thread has ended, or is held up by a broker that does not answer."""
        self._stop.set()
        self._thread.join(1.0)

    def _run(self) -> None:
        while not self._stop.wait(LOOK_EVERY):
            try:
                self._look(time.monotonic())
            except Exception:
                log.exception("the watch could not look")

    def _look(self, now: float) -> None:
        standing = self._standing()
        finding = self._vigil.look(now, self._main.beats, standing, self._ask_lag)
        if finding is Finding.LOOP_STANDS:
            self.stalls += 1
            log.warning(str(finding), seconds=round(self._vigil.still_for, 1), stack=stack_of(self._main.thread_id))
        elif finding is not None:
            self._end(finding, standing)
        handlers = [pulse for pulse in self.loops if pulse is not self._main]
        for pulse in self._blocked_loops.look(now, handlers):
            self.blocked += 1
            log.warning(
                'an async handler blocks its loop: use def, or executor="process"',
                type=pulse.name,
                stack=stack_of(pulse.thread_id),
            )
        if self._recorder is not None:
            vitals = self._recorder.vitals
            self._recorder.tell(
                vitals._replace(
                    looks=vitals.looks + 1,
                    finished=standing.finished,
                    lag=standing.waiting + standing.unread + self._known_lag,
                    blocked=self.blocked,
                    stalls=self.stalls,
                )
            )

    def _ask_lag(self) -> int | None:
        lag = self._lag()
        self._known_lag = lag or 0
        return lag

    def _end(self, finding: Finding, standing: Standing) -> None:
        log.error(
            f"{finding}: the process ends, to be started again",
            seconds=round(self._vigil.still_for, 1),
            running=standing.running,
            waiting=standing.waiting,
            unread=standing.unread,
            lag=self._known_lag,
            stacks=every_stack(),
        )
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(STALLED)


def stack_of(thread_id: int) -> str:
    """What a thread is doing now, innermost call last."""
    frame = sys._current_frames().get(thread_id)  # noqa: SLF001  (public by its documentation)
    return "".join(traceback.format_stack(frame, _MOST_FRAMES)) if frame is not None else "the thread has ended"


def every_stack() -> str:
    """What every thread is doing now."""
    return "\n".join(
        f"{thread.name}:\n{stack_of(thread.ident)}" for thread in threading.enumerate() if thread.ident is not None
    )
