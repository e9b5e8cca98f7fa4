"""Handlers in processes of their own: killed at their time-out, and no harm to the worker when they crash."""

import asyncio
import contextlib
import inspect
import logging
import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from importlib import import_module
from multiprocessing.connection import Connection
from typing import Any, Final, cast

import structlog
from msgspec import Raw, Struct

from laneway import tracing
from laneway.context import Context
from laneway.files import FileStore
from laneway.logs import configure
from laneway.registry import TaskType, registry
from schemas.errors import TaskError
from schemas.settings import Settings
from schemas.status import Progress
from schemas.task import Priority
from streams.attempt import result_of

log = structlog.get_logger(__name__)

_EXPORT_EVERY: Final = 0.5
"""Seconds: such a process is not asked to stop, so little may lie there."""
_SPAWN: Final = multiprocessing.get_context("spawn")  # a fork would copy threads' locks and the Kafka clients


class HandlerProcessError(TaskError):
    """The process of a handler died under it: a crash in native code, out of memory, or killed."""

    retriable = True
    log_level = logging.WARNING

    def __init__(self, how: str) -> None:
        self.how = how
        """A signal's name, or an exit code."""
        self.begun = True
        """Whether the attempt had begun; a process that does not come up says nothing about its task."""
        super().__init__(f"the handler's process ended with {how} in the middle of the attempt")


class Job(Struct, frozen=True, kw_only=True):
    """One attempt, as it travels to a handler process."""

    type: str
    payload: bytes
    task_id: str
    priority: Priority
    attempt: int
    max_attempts: int
    generation: int
    labels: dict[str, str]
    deadline: datetime | None
    traceparent: str | None = None
    """Of the attempt's span, where spans are made."""
    shadow: bool = False

    @classmethod
    def of(cls, context: Context, payload: bytes, traceparent: str | None = None) -> "Job":
        """The attempt that a context describes."""
        return cls(
            type=context.type,
            payload=payload,
            task_id=context.task_id,
            priority=context.priority,
            attempt=context.attempt,
            max_attempts=context.max_attempts,
            generation=context.generation,
            labels=context.labels,
            deadline=context.deadline,
            traceparent=traceparent,
            shadow=context.shadow,
        )

    def context(self, settings: Settings, files: FileStore, report: Callable[[Progress], None]) -> Context:
        """The attempt as its handler sees it."""
        return Context(
            task_id=self.task_id,
            type=self.type,
            priority=self.priority,
            attempt=self.attempt,
            max_attempts=self.max_attempts,
            generation=self.generation,
            labels=self.labels,
            deadline=self.deadline,
            shadow=self.shadow,
            settings=settings,
            files=files,
            report=report,
        )


class ProcessPool:
    """Processes for handlers that have to run apart from the worker; each is started when it is first needed.

    Any kind of handler runs there; an ``async`` one on a loop of the process, one at a time like all others.
    """

    def __init__(self, settings: Settings, imports: list[str], places: int) -> None:
        self._settings = settings
        self._imports = imports
        self._idle: list[_HandlerProcess] = []
        self._places = asyncio.Semaphore(places)

    async def run(
        self,
        job: Job,
        report: Callable[[Progress], None],
        timeout: timedelta | None,
        begun: Callable[[Callable[[], None]], None] = lambda _: None,
    ) -> Raw:
        """Run a job in a process; once it is at work, ``begun`` gets what tells it that it is cancelled.

        Delivery: cancelled or past ``timeout``, the process is killed at once. The time that a new process takes to
            start does not count.

        Raises:
            TimeoutError: it ran longer than ``timeout``.
            HandlerProcessError: the process died.
            Exception: whatever the handler raised.
        """
        async with self._places:
            process = self._idle.pop() if self._idle else _HandlerProcess(self._settings, self._imports)
            try:
                await process.ready()
                begun(process.tell_cancelled)
                async with asyncio.timeout(timeout.total_seconds() if timeout else None):
                    result = await process.run(job, report)
            except (asyncio.CancelledError, TimeoutError, HandlerProcessError):
                process.kill()
                raise
            except Exception:
                self._idle.append(process)
                raise
            self._idle.append(process)
            return result

    async def close(self) -> None:
        """Kill every idle process; busy ones are killed as their runs are cancelled."""
        for process in self._idle:
            process.kill()
        self._idle.clear()


class _HandlerProcess:
    def __init__(self, settings: Settings, imports: list[str]) -> None:
        self._pipe, theirs = _SPAWN.Pipe()
        self._process = _SPAWN.Process(target=_serve, args=(theirs, settings, imports), daemon=True)
        self._process.start()
        theirs.close()
        self._is_ready = False

    async def ready(self) -> None:
        """Wait until the process has imported its handlers."""
        if not self._is_ready:
            try:
                await self._answer(lambda _: None)
            except HandlerProcessError as error:
                error.begun = False
                raise
            self._is_ready = True

    async def run(self, job: Job, report: Callable[[Progress], None]) -> Raw:
        try:
            self._pipe.send(job)
        except ConnectionError as error:
            raise self._died() from error
        return Raw(await self._answer(report))

    async def _answer(self, report: Callable[[Progress], None]) -> bytes:
        """The next answer; progress that comes before it is passed on."""
        loop = asyncio.get_running_loop()
        readable = asyncio.Event()
        loop.add_reader(self._pipe.fileno(), readable.set)
        try:
            while True:
                await readable.wait()
                readable.clear()
                while self._pipe.poll():
                    kind, value = self._pipe.recv()
                    if kind == "progress":
                        report(value)
                    elif kind == "result":
                        return bytes(value)
                    else:
                        raise _unpickled(*value)
        except (EOFError, ConnectionError) as error:
            raise self._died() from error
        finally:
            loop.remove_reader(self._pipe.fileno())

    def _died(self) -> HandlerProcessError:
        self._process.join(1)
        code = self._process.exitcode
        how = f"signal {signal.Signals(-code).name}" if code is not None and code < 0 else f"exit code {code}"
        return HandlerProcessError(how)

    def tell_cancelled(self) -> None:
        """Have ``Context.cancelled`` say so in there."""
        if self._process.pid is not None and self._process.is_alive():
            os.kill(self._process.pid, signal.SIGUSR1)

    def kill(self) -> None:
        self._process.kill()
        self._process.join(5)
        self._pipe.close()


def _serve(pipe: Connection, settings: Settings, imports: list[str]) -> None:
    """Main of a handler process: jobs in, results out, until the worker closes its end or dies."""
    threading.Thread(target=_end_with_the_worker, name="worker-watch", daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the worker decides when to stop
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    configure(settings.log)
    tracing.start("laneway-handler", delay=_EXPORT_EVERY)
    for module in imports:
        import_module(module)
    running: list[Context] = []

    def cancel(*_: object) -> None:
        for context in running:
            context.cancel()

    signal.signal(signal.SIGUSR1, cancel)
    files = FileStore(settings.files_dir)
    with asyncio.Runner() as runner, contextlib.suppress(EOFError, ConnectionError, KeyboardInterrupt):
        pipe.send(("result", b""))
        while True:
            job: Job = pipe.recv()
            context = job.context(settings, files, lambda progress: pipe.send(("progress", progress)))
            running[:] = [context]
            try:
                with tracing.under(job.traceparent):
                    answer: tuple[str, Any] = ("result", _call(runner, registry[job.type], job.payload, context))
            except Exception as error:  # noqa: BLE001  (the boundary of an attempt)
                answer = ("error", _pickled(error))
            pipe.send(answer)


def _call(runner: asyncio.Runner, task_type: TaskType, payload: bytes, context: Context) -> bytes:
    value = task_type.validate(payload)
    result = task_type.handler(value, context) if task_type.takes_context else task_type.handler(value)
    if inspect.iscoroutine(result):
        result = runner.run(result)
    return bytes(result_of(context, result))


def _end_with_the_worker() -> None:
    """End with the worker, even one that was killed while a handler keeps this process from looking at its pipe."""
    worker = multiprocessing.parent_process()
    if worker is not None:
        worker.join()
        os._exit(1)


def _pickled(error: Exception) -> tuple[bytes | None, str, str]:
    try:
        data = pickle.dumps(error)
        pickle.loads(data)  # noqa: S301  (our own bytes; some exceptions pickle and do not come back)
    except Exception:  # noqa: BLE001
        return None, type(error).__name__, str(error)
    return data, type(error).__name__, str(error)


def _unpickled(data: bytes | None, name: str, message: str) -> Exception:
    """The handler's exception, or one of the same name where it cannot travel."""
    if data is not None:
        return cast("Exception", pickle.loads(data))  # noqa: S301  (from our own child over a private pipe)
    stand_in: type[Exception] = type(name, (Exception,), {})
    return stand_in(message)
