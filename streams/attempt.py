"""One run of a handler, from the slot that it is given until it ends."""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import timedelta
from typing import Generic, TypeVar

from msgspec import Raw

from laneway.context import Context
from laneway.registry import TaskType

Owner = TypeVar("Owner")


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

    @property
    def begun(self) -> bool:
        """Whether its handler may have been called."""
        return self.began is not None or self.tell is not None or self.alone is not None
