"""Threads of handlers, in which ``time.sleep`` waits in virtual time."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Generator
from typing import Any, Final, SupportsIndex

from laneway.testing.lives import Run


class ClosedError(BaseException):  # a handler's `except Exception` must not hold it up
    """Ends a thread whose sandbox is closed."""


class ThreadCall:
    """A call in a thread; ``time.sleep`` in it waits in virtual time."""

    def __init__(self, loop: asyncio.AbstractEventLoop, run: Run) -> None:
        self._loop = loop
        self._run = run
        self._awake: threading.Event | None = None
        """While it sleeps."""
        self._ended = False
        self.borne = False
        """Patience was had with it since it slept."""

    @property
    def works(self) -> bool:
        """Whether the clock waits for it, however long it takes."""
        return self._awake is None and self._run.counts

    @property
    def lingers(self) -> bool:
        """Whether it works though nobody waits for what it does: a handler that was given up at its time-out."""
        return self._awake is None and self._run.over and not (self._run.life.dead or self.borne)

    def make(self, work: Callable[..., Any], *args: Any) -> Any:
        """In the thread: call ``work``."""
        _here.call = self
        try:
            return work(*args)
        finally:
            _here.call = None

    def sleep(self, seconds: float) -> None:
        """In the thread: wait."""
        if seconds < 0:
            raise ValueError("sleep length must be non-negative")
        awake = threading.Event()
        try:
            self._loop.call_soon_threadsafe(self._fall_asleep, seconds, awake)
        except RuntimeError:
            raise ClosedError from None
        awake.wait()
        if self._ended:
            raise ClosedError

    def end(self) -> None:
        """It never goes on where it sleeps."""
        self._ended = True
        if self._awake is not None:
            self._awake.set()

    def _fall_asleep(self, seconds: float, awake: threading.Event) -> None:
        self._awake = awake
        self._run.waits()
        if self._ended:
            awake.set()
        else:
            self._loop.call_later(seconds, self._wake_up, awake)

    def _wake_up(self, awake: threading.Event) -> None:
        if not self._run.life.dead:  # else it sleeps until the sandbox is closed
            self._awake = None
            self.borne = False
            awake.set()


class _Here(threading.local):
    call: ThreadCall | None = None


_here: Final = _Here()
_real_sleep: Final = time.sleep
_lock: Final = threading.Lock()
_users = 0


def _sleep(seconds: float | SupportsIndex, /) -> None:
    call = _here.call
    if call is None:
        _real_sleep(seconds)
    else:
        call.sleep(float(seconds))


@contextlib.contextmanager
def virtual_sleep() -> Generator[None, None, None]:
    """Let ``time.sleep`` wait in virtual time wherever it is called in a thread of a virtual loop's."""
    global _users
    with _lock:
        _users += 1
        time.sleep = _sleep
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if not _users:
                time.sleep = _real_sleep
