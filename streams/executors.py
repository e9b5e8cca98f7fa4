"""Where handlers run: on the loop, in a thread, in a process."""

import asyncio
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from typing import Any

from msgspec import Raw

from laneway.context import Context
from laneway.registry import TaskType
from schemas import codec
from schemas.errors import ResultError, TaskTimeoutError
from schemas.settings import Settings
from streams.processes import Job, ProcessPool

MAX_RESULT_BYTES = 512 * 1024


class Executors:
    """Runs one attempt of any kind of handler under its time-out.

    Blocking: the loop runs ``async`` handlers alone; everything else runs beside it.
    """

    def __init__(self, settings: Settings, imports: list[str]) -> None:
        self._threads = ThreadPoolExecutor(settings.worker.threads, thread_name_prefix="handler")
        self._calls: set[Future[Any]] = set()
        self._processes = ProcessPool(settings, imports)

    @property
    def threads_busy(self) -> bool:
        """Whether a handler still runs in a thread; the interpreter would wait for it before it ends."""
        return any(call.running() for call in tuple(self._calls))

    async def run(self, task_type: TaskType, payload: bytes, context: Context, timeout: timedelta | None) -> Raw:
        """Run the handler once and return its result as JSON.

        Raises:
            PayloadError: the payload is not what the handler takes.
            TaskTimeoutError: it ran longer than ``timeout``. An ``async`` handler was cancelled, a process killed; a
                thread cannot be: it was told by ``Context.cancelled`` and is left to itself.
            ResultError: what it returned is not JSON, or too large.
            Exception: whatever the handler raised.
        """
        if task_type.executor == "process":
            return await self._in_process(task_type, payload, context, timeout)
        arguments = self._arguments(task_type, payload, context)
        if timeout is None:
            return encode_result(await self._call(task_type, arguments))
        if task_type.executor == "loop":
            bound = asyncio.timeout(timeout.total_seconds())
            try:
                async with bound:
                    result = await self._call(task_type, arguments)
            except TimeoutError as error:
                if not bound.expired():  # the handler's own
                    raise
                raise _timed_out(timeout) from error
        else:
            call = asyncio.ensure_future(self._call(task_type, arguments))
            finished, _ = await asyncio.wait({call}, timeout=timeout.total_seconds())
            if not finished:
                context.cancelling.set()
                call.add_done_callback(_forget)
                raise _timed_out(timeout)
            result = call.result()
        return encode_result(result)

    async def close(self) -> None:
        """Stop the processes, and take no more work; threads that still run are left to end."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        await self._processes.close()

    async def _call(self, task_type: TaskType, arguments: tuple[Any, ...]) -> Any:
        if task_type.executor == "loop":
            return await task_type.handler(*arguments)
        call = self._threads.submit(task_type.handler, *arguments)
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)
        return await asyncio.wrap_future(call)

    async def _in_process(
        self, task_type: TaskType, payload: bytes, context: Context, timeout: timedelta | None
    ) -> Raw:
        job = Job(
            type=task_type.name,
            payload=payload,
            task_id=context.task_id,
            priority=context.priority,
            attempt=context.attempt,
            max_attempts=context.max_attempts,
            generation=context.generation,
            labels=context.labels,
            deadline=context.deadline,
        )
        try:
            return await self._processes.run(job, context.report, timeout)
        except TimeoutError as error:
            raise _timed_out(timeout or timedelta(0)) from error

    @staticmethod
    def _arguments(task_type: TaskType, payload: bytes, context: Context) -> tuple[Any, ...]:
        value = task_type.validate(payload)
        return (value, context) if task_type.takes_context else (value,)


def call_handler(task_type: TaskType, payload: bytes, context: Context) -> bytes:
    """Run a ``def`` handler here and now; what a handler process does with its job."""
    value = task_type.validate(payload)
    result = task_type.handler(value, context) if task_type.takes_context else task_type.handler(value)
    return bytes(encode_result(result))


def encode_result(result: object) -> Raw:
    """A handler's result as JSON.

    Raises:
        ResultError: it is not JSON, or larger than a record can carry.
    """
    dump = getattr(result, "model_dump", None)
    if callable(dump):  # a pydantic model
        result = dump(mode="json")
    try:
        data = codec.encode(result)
    except (TypeError, ValueError, RecursionError) as error:
        raise ResultError(
            f"the handler's result is not JSON: {error}; return dicts, lists, strings, numbers"
        ) from error
    if len(data) > MAX_RESULT_BYTES:
        raise ResultError(
            f"the handler's result has {len(data)} bytes, at most {MAX_RESULT_BYTES} fit a record;"
            " write it to a file (ctx.files) and return its reference"
        )
    return Raw(data)


def _timed_out(timeout: timedelta) -> TaskTimeoutError:
    return TaskTimeoutError(f"the attempt ran longer than its time-out of {timeout.total_seconds():g} s")


def _forget(call: "asyncio.Future[Any]") -> None:
    """Take the exception of an abandoned thread, so that it is not reported as never retrieved."""
    if not call.cancelled():
        call.exception()
