"""Where handlers run: on a loop of their type's own, in a thread, in a process; never on the worker's loop."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from typing import Any

from msgspec import Raw

from laneway import tracing
from laneway.registry import TaskType
from schemas.settings import Settings
from streams.attempt import (
    CANCEL_GRACE,
    Attempt,
    Ended,
    LeaseUncertainError,
    arguments_of,
    did_not_end,
    not_begun,
    result_of,
    timed_out_after,
)
from streams.handler_loop import HandlerLoop, stand_back
from streams.mailbox import Mailbox
from streams.places import Places
from streams.processes import Job, ProcessPool
from streams.scheduler import Room
from streams.watch import LoopPulse


class Executors:
    """Runs attempts of every kind of handler under their time-outs. All methods belong to the worker's loop.

    Blocking: never; ``ended`` is called on the worker's loop, once for each attempt that was started.

    What ends an attempt besides a result:

    - ``PayloadError``: the payload is not what the handler takes.
    - ``TaskTimeoutError``: it ran longer than its time-out. An ``async`` handler was cancelled, a process killed; a
      thread cannot be: it was told by ``Context.cancelled`` and is left to itself.
    - ``ResultError``: what it returned is not JSON, or too large.
    - whatever the handler raised, ``CancelledError`` after ``cancel``.

    Args:
        settings: of the worker.
        imports: modules that register the handlers.
        ended: see ``Ended``.
        on_room: called on the worker's loop with a type whose loop can begin more.
        on_loop: gets the pulse of each handler loop that is started.
    """

    def __init__(
        self,
        settings: Settings,
        imports: list[str],
        ended: Ended,
        on_room: Callable[[str], None],
        on_loop: Callable[[LoopPulse], None],
    ) -> None:
        self._ended = ended
        self._on_loop = on_loop
        self._loop = asyncio.get_running_loop()
        self._hungry: Mailbox[str] = Mailbox(self._loop, on_room)
        self._returns: Mailbox[tuple[Attempt[Any], Raw | BaseException]] = Mailbox(self._loop, self._returned)
        self._loops: dict[str, HandlerLoop] = {}
        self._nice = settings.worker.nice
        self._grace = settings.worker.cancel_grace
        self._threads = ThreadPoolExecutor(
            settings.worker.threads + 1, thread_name_prefix="handler", initializer=stand_back, initargs=(self._nice,)
        )
        self._in_threads = Places(settings.worker.threads, on_room)
        self._in_processes = Places(settings.worker.processes, on_room)
        self._calls: set[Future[None]] = set()
        self._processes = ProcessPool(settings, imports, settings.worker.processes + 1)
        self._closed_loops: list[HandlerLoop] = []

    @property
    def threads_busy(self) -> bool:
        """Whether a handler still runs in a thread; the interpreter would wait for it before it ends."""
        return any(call.running() for call in tuple(self._calls)) or any(each.alive for each in self._closed_loops)

    def room(self, task_type: TaskType) -> Room:
        """For whom of a type there is room: begun soon if it is started; asked again after ``on_room`` was called."""
        match task_type.executor:
            case "loop":
                loop = self._loops.get(task_type.name)
                return Room.ANY if loop is None else loop.room
            case "thread":
                return self._in_threads.room(task_type.name)
            case "process":
                return self._in_processes.room(task_type.name)

    def start(self, attempt: Attempt[Any]) -> None:
        """Begin an attempt."""
        if attempt.alone is not None:
            self._own(attempt, self._run_alone(attempt, attempt.alone))
            return
        match attempt.task_type.executor:
            case "loop":
                name = attempt.task_type.name
                loop = self._loops.get(name)
                if loop is None:
                    loop = self._loops[name] = HandlerLoop(name, self._run, self._hungry.put, self._nice)
                    self._on_loop(loop.pulse)
                loop.start(attempt)
            case "thread":
                self._in_threads.take(attempt)
                call = attempt.call = self._threads.submit(self._call, attempt)
                self._calls.add(call)
                call.add_done_callback(self._calls.discard)
            case "process":
                self._in_processes.take(attempt)
                self._own(attempt, self._run_in_process(attempt))

    def _own(self, attempt: Attempt[Any], run: Coroutine[Any, Any, None]) -> None:
        def ended(task: "asyncio.Task[None]") -> None:
            self._in_processes.free(attempt)
            if task.cancelled():  # before its first step, so that it could report nothing
                self._return((attempt, asyncio.CancelledError()))

        attempt.task = self._loop.create_task(run)
        attempt.task.add_done_callback(ended)

    def cancel(self, attempt: Attempt[Any]) -> None:
        """Have an attempt end early, if it can be."""
        attempt.context.cancel()
        if attempt.task_type.executor == "loop" and attempt.alone is None:
            self._loops[attempt.task_type.name].cancel(attempt)
        elif attempt.task is not None:
            attempt.task.cancel()

    def call_off(self, attempt: Attempt[Any], grace: float) -> None:
        """The task is cancelled: an attempt that has not begun never does; one that runs is told, and later ended.

        Args:
            attempt: of the task.
            grace: seconds until it is ended.
        """
        attempt.context.cancel()
        if attempt.begun:
            if attempt.tell is not None:
                attempt.tell()
            attempt.stop_at = time.monotonic() + grace
            return
        attempt.called_off = True
        if attempt.call is not None and attempt.call.cancel():
            self._returned((attempt, not_begun()))
        elif attempt.task_type.executor == "process" and attempt.task is not None:
            attempt.task.cancel()

    def collect(self) -> None:
        """Take what has ended, though its loop may be blocked before it told us; called many times a second."""
        self._returns.collect()

    def look_after(self, attempts: Iterable[Attempt[Any]]) -> None:
        """End those that are past their time-out; called many times a second."""
        now = time.monotonic()
        for attempt in tuple(attempts):
            if attempt.called_off and attempt.stop_at is None and attempt.begun:
                self.call_off(attempt, self._grace)  # it began in that very moment
            if attempt.stop_at is not None and now >= attempt.stop_at and not attempt.over:
                self._stop(attempt, now - attempt.stop_at)
            if attempt.timeout is None or attempt.began is None:  # unbounded, not begun, or in a process
                continue
            late = now - attempt.began - attempt.timeout.total_seconds()
            if late < 0 or attempt.over:
                continue
            if attempt.task_type.executor == "loop" and not attempt.timed_out:
                attempt.timed_out = True
                self.cancel(attempt)
            elif attempt.task_type.executor == "thread" or late > CANCEL_GRACE:
                attempt.context.cancel()
                self._return((attempt, timed_out_after(attempt.timeout)))

    def _stop(self, attempt: Attempt[Any], late: float) -> None:
        """End an attempt whose task was cancelled; one that does not let itself be ended is left to itself."""
        if attempt.task_type.executor == "thread" and attempt.alone is None:
            late = CANCEL_GRACE
        elif not attempt.stopped:
            attempt.stopped = True
            self.cancel(attempt)
        if late >= CANCEL_GRACE:
            self._return((attempt, did_not_end()))

    async def close(self) -> None:
        """Stop loops and processes, and take no more work; handlers that listen to nobody are left to end."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._closed_loops = list(self._loops.values())
        await asyncio.gather(*(asyncio.to_thread(loop.close) for loop in self._closed_loops))
        await self._processes.close()

    async def _run(self, loop: HandlerLoop, attempt: Attempt[Any]) -> None:
        """An attempt of an ``async`` handler, on its loop."""
        try:
            if not loop.begun(attempt):
                raise not_begun() if attempt.called_off else LeaseUncertainError
            if attempt.span is None:
                returned = await attempt.task_type.handler(*arguments_of(attempt))
            else:
                with tracing.inside(attempt.span):
                    returned = await attempt.task_type.handler(*arguments_of(attempt))
            result: Raw | BaseException = result_of(attempt.context, returned)
        except BaseException as error:  # noqa: BLE001  (the boundary of an attempt)
            result = timed_out_after(attempt.timeout, error) if attempt.timed_out and attempt.timeout else error
        if attempt.urgent:
            self._returns.put((attempt, result))
        else:
            self._returns.put_paced((attempt, result), loop.loop)

    def _call(self, attempt: Attempt[Any]) -> None:
        """An attempt of a ``def`` handler, in its thread."""
        try:
            if attempt.called_off:
                raise not_begun()
            if not attempt.may_begin():
                raise LeaseUncertainError
            attempt.began = time.monotonic()
            with tracing.inside(attempt.span):
                returned = attempt.task_type.handler(*arguments_of(attempt))
            result: Raw | BaseException = result_of(attempt.context, returned)
        except BaseException as error:  # noqa: BLE001  (the boundary of an attempt)
            result = error
        self._returns.put((attempt, result))

    async def _run_alone(self, attempt: Attempt[Any], alone: Callable[[], Awaitable[Raw]]) -> None:
        try:
            result: Raw | BaseException = await alone()
        except BaseException as error:  # noqa: BLE001  (the boundary of an attempt)
            result = error
        self._return((attempt, result))

    async def _run_in_process(self, attempt: Attempt[Any]) -> None:
        context, timeout = attempt.context, attempt.timeout
        traceparent = None if attempt.span is None else tracing.traceparent_of(attempt.span)
        job = Job.of(context, attempt.payload, traceparent)
        result: Raw | BaseException
        try:
            result = await self._processes.run(job, context.report, timeout, partial(_at_work, attempt))
        except TimeoutError as error:
            result = timed_out_after(timeout or timedelta(0), error)
        except BaseException as error:  # noqa: BLE001  (the boundary of an attempt)
            result = error
        self._return((attempt, result))

    def _returned(self, end: tuple[Attempt[Any], Raw | BaseException]) -> None:
        """The handler is through, though its end may have been reported before."""
        try:
            self._return(end)
        finally:
            self._in_threads.free(end[0])

    def _return(self, end: tuple[Attempt[Any], Raw | BaseException]) -> None:
        attempt, result = end
        if attempt.over:
            return
        attempt.over = True
        self._ended(attempt.owner, result)


def _at_work(attempt: Attempt[Any], tell: Callable[[], None]) -> None:
    """A process is there for an attempt.

    Raises:
        LeaseUncertainError: it must not begin.
    """
    if not attempt.may_begin():
        raise LeaseUncertainError
    attempt.tell = tell
