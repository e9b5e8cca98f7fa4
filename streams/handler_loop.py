"""A thread with an event loop of its own, on which the ``async`` handlers of one type run.

Whatever such a handler does to its loop, the worker's own loop goes on: it commits, publishes, and serves other types.
"""

import asyncio
import contextlib
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final

import uvloop

from streams.attempt import Attempt
from streams.mailbox import Mailbox
from streams.scheduler import Room
from streams.watch import LoopPulse

_STOPS_WITHIN: Final = 2.0
_AHEAD: Final = 0.004
"""Seconds within which the attempts that are let in ahead should have begun."""
_AT_ONCE: Final = 0.0005
"""Seconds that those take which are begun before the next look at who has come."""
_AT_FIRST_AHEAD: Final = 16
_FEWEST_AHEAD: Final = 1
_MOST_AHEAD: Final = 256
_WEIGHT: Final = 0.1
_LONGEST: Final = 0.01
"""A single long one says little about the next."""


def stand_back(nice: int) -> None:
    """Have the thread that calls this, and it alone, give way to others (Linux; elsewhere nothing happens).

    As a batch thread besides: one that wakes up takes the processor from nobody.
    """
    if nice and sys.platform == "linux":
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), os.getpriority(os.PRIO_PROCESS, 0) + nice)


def _never() -> bool:
    return False


class HandlerLoop:
    """Runs attempts of ``async`` handlers.

    Args:
        name: the type, for the thread's name and the log.
        run: runs one attempt, whatever happens in it: calls ``begun`` first, and reports its end.
        nice: how far the thread stands back for others.
        hungry: called on the loop with ``name`` when few attempts are left to begin.
    """

    def __init__(
        self, name: str, run: Callable[["HandlerLoop", Attempt[Any]], Any], hungry: Callable[[str], None], nice: int
    ) -> None:
        self._nice = nice
        self.name = name
        self.pulse = LoopPulse(name, busy=False)
        """By which the watch sees that a handler blocks the loop."""
        # Of others, and of what is urgent; each counted by one thread alone.
        self._handed_over = [0, 0]
        self._begun = [0, 0]
        self.running: set[asyncio.Task[None]] = set()
        self._run = run
        self._hungry = hungry
        self._ahead = _AT_FIRST_AHEAD
        self._each = 0.0
        """CPU seconds from the begin of one attempt to that of the next; a moving average."""
        self._last_begun = 0.0
        self._refused = False
        """Whether somebody asked for room and there was none for all."""
        self._loop = uvloop.new_event_loop()
        self._inbox: Mailbox[Attempt[Any]] = Mailbox(self._loop, self._wait)
        self._urgent: deque[Attempt[Any]] = deque()
        self._others: deque[Attempt[Any]] = deque()
        self._beginning = False
        self._stopping: Mailbox[Attempt[Any]] = Mailbox(self._loop, self._cancel)
        self._thread = threading.Thread(target=self._serve, name=f"handlers-{name}", daemon=True)
        self._thread.start()

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """On which the handlers run."""
        return self._loop

    @property
    def room(self) -> Room:
        """For whom there is room: another attempt of theirs would be begun within some milliseconds.

        A handler that computes keeps the others waiting, so few are let in ahead of it; of handlers that wait, as many
        as can be begun in the same time. What is urgent passes them.
        """
        room = self._room()
        if room is not Room.ANY:
            self._refused = True
            room = self._room()  # whoever begins now sees that somebody was refused; whoever did just before is seen
        return room

    def _room(self) -> Room:
        urgent = self._left(urgent=True)
        if urgent >= self._ahead:
            return Room.NONE
        return Room.ANY if self._left(urgent=False) + urgent < self._ahead else Room.HIGH_IN_ITS_SHARE

    def _left(self, *, urgent: bool) -> int:
        """How many have not begun; from any thread."""
        return self._handed_over[urgent] - self._begun[urgent]

    def start(self, attempt: Attempt[Any]) -> None:
        """From the worker's loop alone: begin an attempt.

        Ordering: as they are started; what is urgent before all others that have not begun.
        """
        self.pulse.busy = True
        self._handed_over[attempt.urgent] += 1
        self._inbox.put(attempt)

    def cancel(self, attempt: Attempt[Any]) -> None:
        """From any thread: cancel an attempt that was begun; its end is reported as of any other."""
        self._stopping.put(attempt)

    def close(self) -> None:
        """Cancel what runs and end the thread.

        Blocking: a moment; a thread whose handler does not let go of its loop is left behind.
        """
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._stop)
        self._thread.join(_STOPS_WITHIN)

    @property
    def alive(self) -> bool:
        """Whether its thread still runs."""
        return self._thread.is_alive()

    def _serve(self) -> None:
        stand_back(self._nice)
        asyncio.set_event_loop(self._loop)
        pulse = self._loop.create_task(self.pulse.keep())
        self._loop.run_forever()
        pulse.cancel()
        self._loop.run_until_complete(asyncio.gather(*self.running, return_exceptions=True))
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    def begun(self, attempt: Attempt[Any]) -> bool:
        """On the loop: it is an attempt's turn; False when its handler must not be called any more."""
        may_begin = not attempt.called_off and attempt.may_begin()
        if may_begin:
            attempt.began = time.monotonic()
        now = time.thread_time()  # not the clock's: what others do meanwhile is not this loop's pace
        self._each += (min(now - self._last_begun, _LONGEST) - self._each) * _WEIGHT
        self._ahead = max(_FEWEST_AHEAD, min(_MOST_AHEAD, int(_AHEAD / max(self._each, 1e-6))))
        self._last_begun = now
        self._begun[attempt.urgent] += 1
        left = self._left(urgent=True) + (0 if attempt.urgent else self._left(urgent=False))
        if self._refused and left <= self._ahead // 2:
            self._refused = False
            self._hungry(self.name)
        return may_begin

    def _wait(self, attempt: Attempt[Any]) -> None:
        (self._urgent if attempt.urgent else self._others).append(attempt)
        if not self._beginning:
            self._beginning = True
            self._loop.call_soon(self._begin)

    def _begin(self) -> None:
        """Begin as many as take a moment, and look again who has come: one at a time of those that compute."""
        self._inbox.collect()
        for _ in range(max(1, int(_AT_ONCE / max(self._each, 1e-6)))):
            waiting = self._urgent or self._others
            if not waiting:
                self._beginning = False
                return
            attempt = waiting.popleft()
            task = attempt.task = self._loop.create_task(self._run(self, attempt))
            self.running.add(task)
            task.add_done_callback(self._ended)
        self._loop.call_soon(self._begin)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self.running.discard(task)
        self.pulse.busy = bool(self.running or self._urgent or self._others or self._inbox)

    @staticmethod
    def _cancel(attempt: Attempt[Any]) -> None:
        if attempt.task is not None and attempt.began is not None:
            attempt.task.cancel()
        else:  # a task that is cancelled before its first step would tell nobody of its end
            attempt.may_begin = _never

    def _stop(self) -> None:
        for task in self.running:
            task.cancel()
        self._loop.stop()
