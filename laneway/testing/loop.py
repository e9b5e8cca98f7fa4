"""An event loop with a virtual clock: where nothing real is under way, it jumps to the next timer."""

import asyncio
import contextlib
import inspect
import selectors
import threading
from collections.abc import Callable, Coroutine, Generator
from concurrent.futures import Executor
from contextvars import Context, copy_context
from functools import partial
from math import inf
from typing import Any, Final
from weakref import WeakKeyDictionary, WeakSet

from laneway.testing.lives import Life, Run, current_run
from laneway.testing.threads import ClosedError, ThreadCall
from schemas.errors import SandboxError

_JOINS: Final = frozenset({"asyncio.tasks", "asyncio.taskgroups"})
"""Where a coroutine waits for a timer, or for other tasks, each of which is looked at by itself."""


_NOBODY: Final = Run(Life(), lambda: None)


class VirtualLoop(asyncio.SelectorEventLoop):
    """Runs everything of a sandbox.

    The clock stands still while a callback is ready, while a thread that was started here works, and for ``patience``
    once a handler begins to wait for something that is neither a timer nor a task; otherwise it jumps.

    Args:
        patience: real seconds in which what comes from outside (a socket, a thread of some library) may come.
        stalled_after: real seconds after which a thread that works is given up on.
    """

    _now = 0.0

    def __init__(self, *, patience: float, stalled_after: float) -> None:
        self._selector_of_ours = _Selector(self._nothing_ready)
        super().__init__(self._selector_of_ours)
        self._patience = patience
        self._stalled_after = stalled_after
        self._until = 0.0
        self._enough: Callable[[], bool] = bool
        self._calls: set[ThreadCall] = set()
        self._tasks: WeakKeyDictionary[asyncio.Task[Any], tuple[Run, Any]] = WeakKeyDictionary()
        self._borne: WeakSet[asyncio.Future[Any]] = WeakSet()
        """What patience was had with already."""
        self.closing = False
        self._abandoned: list[Any] = []
        self._broken: list[BaseException] = []
        self.set_task_factory(self._make_task)
        self.set_exception_handler(self._heard)

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._now

    def turn(self, until: float, enough: Callable[[], bool]) -> None:
        """Run what is due by ``until``; afterwards it is that time, unless ``enough`` said so before.

        Raises:
            SandboxError: a thread has worked for longer than ``stalled_after``.
        """
        self._until, self._enough = until, enough
        self.run_forever()
        if self._broken:
            broken, self._broken = self._broken, []
            raise broken[0]

    def spawn(self, work: Coroutine[Any, Any, None], run: Run | None = None) -> "asyncio.Task[None]":
        """Begin work: of a handler, or of the kit itself, which must not fail."""
        context = copy_context()
        context.run(current_run.set, run)
        task = self.create_task(work, context=context)
        if run is None:
            task.add_done_callback(self._ended)
        return task

    def in_thread(self, work: Callable[[], Any], run: Run, then: Callable[[Any], None]) -> None:
        """Call ``work``, which raises nothing, in a thread, and ``then`` on the loop with what it returned."""
        call = ThreadCall(self, run)
        self._calls.add(call)
        # A daemon: a handler that never returns must not keep the tests from ending.
        threading.Thread(target=self._serve, args=(call, work, then), name="handler", daemon=True).start()

    def run_in_executor(  # type: ignore[override]  # typeshed's is generic in the arguments
        self, executor: Executor | None, func: Callable[..., Any], *args: Any
    ) -> "asyncio.Future[Any]":
        """As of any loop; the clock stands still meanwhile."""
        call = ThreadCall(self, current_run.get() or _NOBODY)
        self._calls.add(call)
        future = super().run_in_executor(executor, partial(call.make, func), *args)
        future.add_done_callback(lambda _: self._calls.discard(call))
        return future

    def close(self) -> None:
        """Let go of everything; what handlers do when they are closed, they do now."""
        if self.is_closed():
            return
        self.closing = True
        for call in self._calls:
            call.end()
        pending = asyncio.all_tasks(self)
        for task in pending:
            task.cancel()
        self._broken.clear()
        self.turn(self._now, lambda: False)
        for work in self._abandoned:
            with contextlib.suppress(BaseException):  # what it raises has nobody to hear it
                work.close()
        super().close()

    # The clock ----------------------------------------------------------------------------------------------------

    def _nothing_ready(self, timeout: float | None) -> list[Any]:
        """Nothing can be done at this time: wait for what is real, or move the clock, or stop."""
        if self._enough():
            self.stop()
            return []
        if any(call.works for call in self._calls) and not self.closing:
            ready = self._selector_of_ours.wait(self._stalled_after)
            if not ready:
                raise SandboxError(
                    f"nothing has happened for {self._stalled_after:g} real seconds: a thread of a handler is at work,"
                    " and the virtual clock stands still meanwhile. Let it wait by time.sleep, or give Sandbox a higher"
                    " stalled_after"
                )
            return ready
        awaited = self._awaited_from_outside() - set(self._borne)
        lingering = [call for call in self._calls if call.lingers]
        if (awaited or lingering) and not self.closing:
            self._borne.update(awaited)
            for call in lingering:
                call.borne = True
            if ready := self._selector_of_ours.wait(self._patience):
                return ready
        at = inf if timeout is None else self._now + timeout
        if at > self._until:
            self._now = max(self._now, self._until)
            self.stop()
        else:
            self._now = at
        return []

    def _awaited_from_outside(self) -> set["asyncio.Future[Any]"]:
        """What handlers wait for that neither a timer nor a task of theirs will bring, as far as can be seen."""
        found: set[asyncio.Future[Any]] = set()
        for task, (run, work) in list(self._tasks.items()):
            if task.done() or not run.counts:
                continue
            awaited = task._fut_waiter  # type: ignore[attr-defined]  # noqa: SLF001  (nothing public tells)
            if awaited is None or isinstance(awaited, asyncio.Task):
                continue
            parts = getattr(awaited, "_children", None)  # of asyncio.gather
            if parts is not None and all(isinstance(part, asyncio.Task) for part in parts):
                continue
            if not _joins_or_sleeps(work):
                found.add(awaited)
        return found

    # Tasks --------------------------------------------------------------------------------------------------------

    def _make_task(
        self, loop: asyncio.AbstractEventLoop, work: Any, *, context: Context | None = None, **options: Any
    ) -> "asyncio.Task[Any]":
        run = current_run.get() if context is None else context.get(current_run)
        if run is None:
            return asyncio.Task(work, loop=self, context=context, **options)
        task = asyncio.Task(self._mortal(work, run), loop=self, context=context, **options)
        self._tasks[task] = run, work
        return task

    async def _mortal(self, work: Any, run: Run) -> Any:
        return await _Driven(self, work, run)

    def abandon(self, work: Any) -> Generator[Any, None, None]:
        """Never go on with a coroutine of a dead process, nor let it clean up before the loop is closed."""
        self._abandoned.append(work)
        if self.closing:  # nobody will cancel its task once more
            raise asyncio.CancelledError
        yield from self.create_future()

    def _ended(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self.fail(error)

    def _heard(self, loop: asyncio.AbstractEventLoop, told: dict[str, Any]) -> None:
        """A callback has raised: no test may go on as if it had not. Tasks of handlers fail as they like."""
        error = told.get("exception")
        if error is not None and "handle" in told:
            self.fail(error)
        else:
            self.default_exception_handler(told)

    def fail(self, error: BaseException) -> None:
        """Have ``turn`` raise an error that is nothing for a handler to end with."""
        self._broken.append(error)
        self.stop()

    # Threads ------------------------------------------------------------------------------------------------------

    def _serve(self, call: ThreadCall, work: Callable[[], Any], then: Callable[[Any], None]) -> None:
        with contextlib.suppress(ClosedError, RuntimeError):  # the loop may be closed by the time that it returns
            self.call_soon_threadsafe(self._served, call, then, call.make(work))

    def _served(self, call: ThreadCall, then: Callable[[Any], None], result: Any) -> None:
        self._calls.discard(call)
        then(result)


class _Selector(selectors.DefaultSelector):
    """Asks the loop what to do where it would have to wait."""

    def __init__(self, nothing_ready: Callable[[float | None], list[Any]]) -> None:
        super().__init__()
        self._nothing_ready = nothing_ready

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(0)
        return ready if ready or (timeout is not None and timeout <= 0) else self._nothing_ready(timeout)

    def wait(self, seconds: float) -> list[Any]:
        """Wait for real."""
        return super().select(seconds)


class _Driven:
    """A coroutine that goes on as long as its process lives."""

    def __init__(self, loop: VirtualLoop, work: Any, run: Run) -> None:
        self._loop = loop
        self._work = work
        self._run = run

    def __await__(self) -> Generator[Any, Any, Any]:
        resume: Callable[[], Any] = partial(self._work.send, None)
        while True:
            if self._run.life.dead or self._loop.closing:
                yield from self._loop.abandon(self._work)
            try:
                awaited = resume()
            except StopIteration as done:
                return done.value
            self._run.waits()
            if self._run.life.dead:
                continue
            try:
                resume = partial(self._work.send, (yield awaited))
            except BaseException as error:  # noqa: BLE001  (the coroutine's to handle)
                resume = partial(self._work.throw, error)


def _joins_or_sleeps(work: Any) -> bool:
    """Whether a coroutine waits in asyncio's own code for a timer, for other tasks, or for a lock of other tasks."""
    while inspect.iscoroutine(inner := getattr(work, "cr_await", None)):
        work = inner
    frame = getattr(work, "cr_frame", None)
    if frame is None:
        return False
    module = frame.f_globals.get("__name__")
    return module in _JOINS or (module == "asyncio.locks" and frame.f_code.co_name == "acquire")
