"""A thread with an event loop of its own, on which the ``async`` handlers of one type run.

Whatever such a handler does to its loop, the worker's own loop goes on: it commits, publishes, and serves other types.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from typing import Any, Final

import uvloop

from streams.attempt import Attempt
from streams.mailbox import Mailbox
from streams.watch import LoopPulse

_STOPS_WITHIN: Final = 2.0


class HandlerLoop:
    """Runs attempts of ``async`` handlers.

    Args:
        name: the type, for the thread's name and the log.
        run: runs one attempt, whatever happens in it, and reports its end.
    """

    def __init__(self, name: str, run: Callable[[Attempt[Any]], Any]) -> None:
        self.name = name
        self.pulse = LoopPulse(name, busy=False)
        """By which the watch sees that a handler blocks the loop."""
        self.running: set[asyncio.Task[None]] = set()
        self._run = run
        self._loop = uvloop.new_event_loop()
        self._inbox: Mailbox[Attempt[Any]] = Mailbox(self._loop, self._begin)
        self._stopping: Mailbox[Attempt[Any]] = Mailbox(self._loop, self._cancel)
        self._thread = threading.Thread(target=self._serve, name=f"handlers-{name}", daemon=True)
        self._thread.start()

    def start(self, attempt: Attempt[Any]) -> None:
        """From any thread: begin an attempt."""
        self.pulse.busy = True
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
        asyncio.set_event_loop(self._loop)
        pulse = self._loop.create_task(self.pulse.keep())
        self._loop.run_forever()
        pulse.cancel()
        self._loop.run_until_complete(asyncio.gather(*self.running, return_exceptions=True))
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    def _begin(self, attempt: Attempt[Any]) -> None:
        attempt.began = time.monotonic()
        task = self._loop.create_task(self._run(attempt))
        attempt.task = task
        self.running.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self.running.discard(task)
        self.pulse.busy = bool(self.running or self._inbox)

    @staticmethod
    def _cancel(attempt: Attempt[Any]) -> None:
        if attempt.task is not None:
            attempt.task.cancel()

    def _stop(self) -> None:
        for task in self.running:
            task.cancel()
        self._loop.stop()
