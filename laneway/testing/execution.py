"""Where handlers run in a sandbox: on its loop, in threads, in processes that exist only in the test."""

import asyncio
import inspect
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any, Final

from msgspec import Raw

from laneway.files import FileStore
from laneway.registry import Registry, TaskType
from laneway.testing.crashes import Crash, Crashes
from laneway.testing.lives import Life, Run
from laneway.testing.loop import VirtualLoop
from laneway.testing.threads import ClosedError
from schemas.settings import Settings
from schemas.status import Progress
from streams.attempt import (
    CANCEL_GRACE,
    Attempt,
    Ended,
    arguments_of,
    did_not_end,
    not_begun,
    result_of,
    timed_out_after,
)
from streams.processes import HandlerProcessError, Job
from streams.scheduler import Room

_CRASHED: Final = "SIGSEGV"
_ENDS: Final = (Exception, asyncio.CancelledError, SystemExit, Crash)
"""What a handler ends with. Anything else is the test's own: pytest's verdicts, Ctrl-C."""


class VirtualExecutors:
    """As ``streams.executors.Executors``, on one virtual loop.

    Args:
        loop: of the sandbox.
        life: of the worker process.
        crashes: which were asked for.
        pool: for handlers that ask for a process.
        ended: gets each attempt's owner, and the result as JSON or what was raised.
        crashed: ends the worker process; gets a signal's name.
        began: called when an attempt begins.
        reported: called, on any thread, when a handler has told how far it is.
    """

    def __init__(
        self,
        loop: VirtualLoop,
        life: Life,
        crashes: Crashes,
        pool: "VirtualPool",
        *,
        ended: Ended,
        crashed: Callable[[str], None],
        began: Callable[[], None],
        reported: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._life = life
        self._crashes = crashes
        self._pool = pool
        self._ended = ended
        self._crashed = crashed
        self._began = began
        self._reported = reported
        self._open: dict[Attempt[Any], Run] = {}

    def room(self, task_type: TaskType) -> Room:
        """For all, as long as the process lives."""
        return Room.NONE if self._life.dead else Room.ANY

    def start(self, attempt: Attempt[Any]) -> None:
        """Begin an attempt."""
        attempt.context.report = partial(self._report, attempt.context.report)
        self._began()
        if attempt.alone is not None:
            attempt.task = self._loop.spawn(self._elsewhere(attempt, attempt.alone))
        elif attempt.task_type.executor == "process":
            attempt.task = self._loop.spawn(self._elsewhere(attempt, partial(self._in_process, attempt)))
        else:
            run = self._open[attempt] = Run(self._life, partial(self._waits, attempt))
            if attempt.timeout is not None:
                self._loop.call_later(attempt.timeout.total_seconds(), self._time_out, attempt, attempt.timeout)
            if attempt.task_type.executor == "loop":
                attempt.task = self._loop.spawn(self._on_loop(attempt), run)
            else:
                attempt.began = self._loop.time()
                self._loop.in_thread(partial(_called, attempt), run, partial(self._over, attempt))

    def cancel(self, attempt: Attempt[Any]) -> None:
        """Have an attempt end early, if it can be."""
        attempt.context.cancel()
        if attempt.task is not None:
            attempt.task.cancel()

    def call_off(self, attempt: Attempt[Any], grace: float) -> None:
        """The task is cancelled: an attempt that has not begun never does; one that runs is told, and later ended."""
        attempt.context.cancel()
        if attempt.begun:
            if attempt.tell is not None:
                attempt.tell()
            self._loop.call_later(grace, self._stop, attempt)
            return
        attempt.called_off = True
        if attempt.task_type.executor == "process" and attempt.task is not None:
            attempt.task.cancel()

    def collect(self) -> None:
        """Nothing: every end is told at once."""

    def look_after(self, attempts: object) -> None:
        """Nothing: timers of the loop's end what is late."""

    async def _on_loop(self, attempt: Attempt[Any]) -> None:
        result: Raw | BaseException
        try:
            if attempt.called_off:
                raise not_begun()
            attempt.began = self._loop.time()
            result = result_of(attempt.context, await attempt.task_type.handler(*arguments_of(attempt)))
        except BaseException as error:  # noqa: BLE001  (the boundary of an attempt)
            result = error
            if (
                attempt.timed_out
                and attempt.timeout is not None
                and isinstance(error, Exception | asyncio.CancelledError)
            ):
                result = timed_out_after(attempt.timeout, error)
        self._over(attempt, result)

    async def _elsewhere(self, attempt: Attempt[Any], result_of: Callable[[], Any]) -> None:
        """In a process that the handler has for itself."""
        result: Raw | BaseException
        try:
            result = await result_of()
        except TimeoutError as error:
            result = timed_out_after(attempt.timeout or timedelta(0), error)
        except BaseException as error:  # noqa: BLE001  (the boundary of an attempt)
            result = error
        self._return(attempt, result)

    async def _in_process(self, attempt: Attempt[Any]) -> Raw:
        context = attempt.context
        job = Job.of(context, attempt.payload)
        return await self._pool.run(job, context.report, attempt.timeout, partial(setattr, attempt, "tell"))

    def _time_out(self, attempt: Attempt[Any], timeout: timedelta) -> None:
        if attempt.over or self._life.dead:
            return
        attempt.context.cancel()
        if attempt.task is None:  # in a thread, which cannot be stopped
            self._return(attempt, timed_out_after(timeout))
        else:
            attempt.timed_out = True
            attempt.task.cancel()
            self._loop.call_later(CANCEL_GRACE, self._return, attempt, timed_out_after(timeout))

    def _stop(self, attempt: Attempt[Any]) -> None:
        """Its task was cancelled, and it has not ended by itself."""
        if attempt.over or self._life.dead:
            return
        if attempt.task is None:
            self._return(attempt, did_not_end())
        else:
            attempt.stopped = True
            self.cancel(attempt)
            self._loop.call_later(CANCEL_GRACE, self._return, attempt, did_not_end())

    def _report(self, report: Callable[[Progress], None], progress: Progress) -> None:
        report(progress)
        self._reported()

    def _waits(self, attempt: Attempt[Any]) -> None:
        if self._crashes.strikes(attempt.context.task_id, "running"):
            self._crashed(_CRASHED)

    def _over(self, attempt: Attempt[Any], result: Raw | BaseException) -> None:
        if not isinstance(result, (Raw, *_ENDS)):
            self._loop.fail(result)
            return
        if isinstance(result, Crash):
            if not self._life.dead and not attempt.over:
                self._crashed(result.how)
            return
        self._waits(attempt)
        self._return(attempt, result)

    def _return(self, attempt: Attempt[Any], result: Raw | BaseException) -> None:
        run = self._open.pop(attempt, None)
        if run is not None:
            run.over = True
        if not attempt.over and not self._life.dead:
            attempt.over = True
            self._ended(attempt.owner, result)


class VirtualPool:
    """As ``streams.processes.ProcessPool``: a ``def`` handler's process is a thread that a kill leaves to itself.

    Args:
        loop: of the sandbox.
        life: of the worker process.
        crashes: which were asked for.
        settings: of the worker.
        registry: of the handlers.
    """

    def __init__(self, loop: VirtualLoop, life: Life, crashes: Crashes, settings: Settings, registry: Registry) -> None:
        self._loop = loop
        self._life = life
        self._crashes = crashes
        self._settings = settings
        self._registry = registry
        self._files = FileStore(settings.files_dir)
        self._places = asyncio.Semaphore(settings.worker.processes)

    async def run(
        self,
        job: Job,
        report: Callable[[Progress], None],
        timeout: timedelta | None,
        begun: Callable[[Callable[[], None]], None] = lambda _: None,
    ) -> Raw:
        """Run a job in a process; ``begun`` gets what tells it that it is cancelled.

        Raises:
            TimeoutError: it ran longer than ``timeout``.
            HandlerProcessError: the process died.
            Exception: whatever the handler raised.
        """
        async with self._places:
            life = Life(self._life)
            over: asyncio.Future[Raw] = self._loop.create_future()

            def returned(result: Raw | BaseException) -> None:
                if not isinstance(result, (Raw, *_ENDS)):
                    self._loop.fail(result)
                elif not over.done():
                    _settle(over, result)

            def waits() -> None:
                if self._crashes.strikes(job.task_id, "running"):
                    life.end()
                    returned(Crash(_CRASHED))

            def returned_unless_struck(result: Raw | BaseException) -> None:
                waits()
                returned(result)

            run = Run(life, waits)
            task_type = self._registry[job.type]
            context = job.context(self._settings, self._files, report)
            attempt = Attempt(job, task_type, job.payload, context, timeout)
            begun(context.cancel)
            if inspect.iscoroutinefunction(task_type.handler):
                self._loop.spawn(_awaited(attempt, returned_unless_struck), run)
            else:
                self._loop.in_thread(partial(_called, attempt), run, returned_unless_struck)
            try:
                async with asyncio.timeout(timeout.total_seconds() if timeout else None):
                    return await over
            finally:
                life.end()

    async def close(self) -> None:
        """Nothing is kept."""


def _settle(future: "asyncio.Future[Raw]", result: Raw | BaseException) -> None:
    if isinstance(result, Crash):
        future.set_exception(HandlerProcessError(f"signal {result.how}"))
    elif isinstance(result, Raw):
        future.set_result(result)
    else:
        future.set_exception(result)


def _called(attempt: Attempt[Any]) -> Raw | BaseException:
    """An attempt of a ``def`` handler, in its thread."""
    try:
        return result_of(attempt.context, attempt.task_type.handler(*arguments_of(attempt)))
    except ClosedError:
        raise
    except BaseException as error:  # noqa: BLE001  (the boundary of an attempt)
        return error


async def _awaited(attempt: Attempt[Any], then: Callable[[Raw | BaseException], None]) -> None:
    try:
        returned = await attempt.task_type.handler(*arguments_of(attempt))
        result: Raw | BaseException = result_of(attempt.context, returned)
    except BaseException as error:  # noqa: BLE001  (the boundary of an attempt)
        result = error
    then(result)
