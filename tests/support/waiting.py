import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, Final, TypeVar, overload

POLL_INTERVAL: Final = timedelta(milliseconds=20)

T = TypeVar("T")


@overload
async def eventually(
    predicate: Callable[[], Awaitable[T]], *, within: timedelta | float = ..., what: str | None = ...
) -> T: ...
@overload
async def eventually(predicate: Callable[[], T], *, within: timedelta | float = ..., what: str | None = ...) -> T: ...
async def eventually(predicate: Callable[[], Any], *, within: timedelta | float = 5.0, what: str | None = None) -> Any:
    """The first true value of ``predicate``, which is asked every 20 ms and may be a coroutine function.

    An ``AssertionError`` counts as "not yet", so that a function of asserts can be waited for when it returns something
    true; any other exception is passed on at once. ``within`` is a timedelta or seconds.

    Raises:
        AssertionError: nothing true came in time; the message holds the last value or the last failed assertion.
    """
    seconds = within.total_seconds() if isinstance(within, timedelta) else within
    deadline = time.monotonic() + seconds
    last = "it was never asked"
    while True:
        # Judged by the time before the question, so that the last one is asked after the deadline, never before it.
        expired = time.monotonic() >= deadline
        try:
            answer = predicate()
            value = await answer if inspect.isawaitable(answer) else answer
        except AssertionError as error:
            last = f"the last failed assertion: {error}"
        else:
            if value:
                return value
            last = f"the last value: {value!r}"
        if expired:
            name = what or getattr(predicate, "__qualname__", repr(predicate))
            raise AssertionError(f"{name} was not true within {seconds:g} s; {last}")
        await asyncio.sleep(POLL_INTERVAL.total_seconds())
