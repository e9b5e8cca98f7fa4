"""Answers that take longer than a page should: asked for while anybody looks, and shown as they come."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

from schemas.errors import UnavailableError

T = TypeVar("T")

_PATIENCE: Final = 0.15
"""Seconds that a page waits for an answer; where that is not enough, the next one shows it."""


class Watch(Generic[T]):
    """Keeps the latest answer to a question; one is under way at a time, however many look.

    Args:
        ask: gets an answer.
        again_after: seconds for which one is good.
    """

    def __init__(self, ask: Callable[[], Awaitable[T]], again_after: float) -> None:
        self._ask = ask
        self._again_after = again_after
        self._asked_at: float | None = None
        self._asking: asyncio.Task[None] | None = None
        self._answer: T | None = None
        self.trouble: str | None = None
        """Why there is no answer of late, if that is so."""

    async def latest(self) -> T | None:
        """The latest answer; ``None`` before the first one."""
        under_way = self._asking is not None and not self._asking.done()
        old = self._asked_at is None or time.monotonic() - self._asked_at > self._again_after
        if old and not under_way:
            self._asked_at = time.monotonic()
            self._asking = asyncio.create_task(self._run())
        if self._asking is not None and not self._asking.done():
            await asyncio.wait({self._asking}, timeout=_PATIENCE)
        return self._answer

    def forget(self) -> None:
        """Ask again for whoever looks next: somebody did something."""
        self._asked_at = None

    async def _run(self) -> None:
        try:
            self._answer = await self._ask()
            self.trouble = None
        except UnavailableError as error:
            self.trouble = error.detail
