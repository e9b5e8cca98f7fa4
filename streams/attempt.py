"""One run of a handler, from the slot that it is given until it ends."""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from msgspec import Raw

from laneway.context import Context
from laneway.registry import TaskType
from schemas import codec
from schemas.errors import ResultError, TaskCancelledError, TaskTimeoutError

if TYPE_CHECKING:
    from opentelemetry.trace import Span

MAX_RESULT_BYTES: Final = 512 * 1024
CANCEL_GRACE: Final = 1.0
"""Seconds that an ``async`` handler has to end after its time-out cancelled it; then it is left to itself."""

Ended = Callable[[Any, Raw | BaseException], None]
"""Gets an attempt's owner, and the result as JSON or what was raised."""

Owner = TypeVar("Owner")


class LeaseUncertainError(Exception):
    """The handler was about to be called, and by then another worker may have the task: it was not."""


def _always() -> bool:
    return True


@dataclass(eq=False, slots=True)
class Attempt(Generic[Owner]):
    """What an executor is given, and notes of its way."""

    owner: Owner
    """Whoever is told of the end."""
    task_type: TaskType
    payload: bytes
    context: Context
    timeout: timedelta | None
    began: float | None = None
    """When the handler was called, on the monotonic clock: the time-out counts from here."""
    alone: "Callable[[], Awaitable[Raw]] | None" = None
    """Runs it where it can harm nobody, time-out and all: for a task that was there when a process crashed."""
    timed_out: bool = False
    called_off: bool = False
    """It must not begin: whoever is about to call the handler looks, and reports it as cancelled instead."""
    stop_at: float | None = None
    """On the monotonic clock: when a handler that was told of its cancellation is stopped."""
    stopped: bool = False
    call: "Future[None] | None" = None
    """Of a ``def`` handler, while it waits for a thread."""
    tell: "Callable[[], None] | None" = None
    """Lets a handler's process know of a cancellation; set once it is at work."""
    over: bool = False
    """Its end was reported; whatever comes after is ignored."""
    task: "asyncio.Task[None] | None" = None
    may_begin: Callable[[], bool] = _always
    """Asked from any thread, at the last moment: between the slot and the handler's call a process can be frozen."""
    urgent: bool = False
    """It goes ahead of others that wait where it is to run."""
    span: "Span | None" = None
    """Where spans are made: what the handler's own are children of."""

    @property
    def begun(self) -> bool:
        """Whether its handler may have been called."""
        return self.began is not None or self.tell is not None or self.alone is not None


def arguments_of(attempt: Attempt[Any]) -> tuple[Any, ...]:
    """What the handler is called with.

    Raises:
        PayloadError: the payload is not what it takes.
    """
    task_type = attempt.task_type
    value = task_type.validate(attempt.payload)
    return (value, attempt.context) if task_type.takes_context else (value,)


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


def result_of(context: Context, returned: object) -> Raw:
    """What an attempt whose handler has returned ends with.

    Raises:
        ResultError: as ``encode_result``.
        TaskCancelledError: the handler saw that its task was cancelled, and so what it returned is no result.
    """
    if context.saw_cancellation:
        raise TaskCancelledError("cancelled while it ran")
    return encode_result(returned)


def not_begun() -> TaskCancelledError:
    """The error of an attempt that was called off before its handler was called."""
    return TaskCancelledError("cancelled before it started")


def did_not_end() -> TaskCancelledError:
    """The error of an attempt that was told of its cancellation, stopped, and left to itself."""
    return TaskCancelledError("cancelled while it ran; its handler did not end by itself")


def timed_out_after(timeout: timedelta, cause: BaseException | None = None) -> TaskTimeoutError:
    """The error of an attempt that was ended by its time-out."""
    error = TaskTimeoutError(f"the attempt ran longer than its time-out of {timeout.total_seconds():g} s")
    error.__cause__ = cause
    return error
