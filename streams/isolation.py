"""Runs suspects of a crash alone, each in a process of its own, until it is known which of them did it."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final, Protocol

import structlog
from msgspec import Raw

from laneway.context import Context
from laneway.registry import TaskType
from schemas.errors import PoisonError, TaskTimeoutError
from schemas.settings import Settings
from schemas.status import Progress
from schemas.suspect import Suspect
from streams.processes import HandlerProcessError, Job
from streams.suspects import Suspects

log = structlog.get_logger(__name__)

AGAIN_AFTER: Final = 1.0
"""Seconds between a crash and the next try: memory that it took is free again by then."""


class Pool(Protocol):
    """Processes for handlers; see ``ProcessPool`` for what holds."""

    async def run(self, job: Job, report: Callable[[Progress], None], timeout: timedelta | None) -> Raw:
        """Run a job in a process."""

    async def close(self) -> None:
        """End the processes."""


class Isolation:
    """Where suspects run. Any kind of handler runs there, ``async`` ones too, and nothing else beside it.

    Delivery: a crash spends no attempt. Only a crash of a process in which the task ran alone can condemn it, so an
        innocent one, however often it stood beside a crash, ends as if nothing had been.

    Args:
        settings: of the worker.
        pool: of the processes, for nothing but suspects.
        suspects: what the worker knows of them.
        tell: has the log know of a crash; awaited before the task is tried again.
    """

    def __init__(
        self,
        settings: Settings,
        pool: Pool,
        suspects: Suspects,
        tell: Callable[[list[Suspect]], Awaitable[None]],
    ) -> None:
        self._max_crashes = settings.worker.max_crashes
        self._suspects = suspects
        self._tell = tell
        self._pool = pool
        self._runs = 0

    async def run(
        self, suspect: Suspect, task_type: TaskType, payload: bytes, context: Context, timeout: timedelta | None
    ) -> Raw:
        """Run the handler, as often as it takes to have an outcome, and return its result as JSON.

        Raises:
            PoisonError: it crashed its process, and there were ``max_crashes`` crashes with it in all.
            TaskTimeoutError: a run took longer than ``timeout``; its process was killed.
            Exception: whatever the handler raised.
        """
        self._runs += 1
        try:
            while True:
                try:
                    return await self._pool.run(Job.of(context, payload), context.report, timeout)
                except TimeoutError as error:
                    seconds = timeout.total_seconds() if timeout else 0
                    raise TaskTimeoutError(f"the attempt ran longer than its time-out of {seconds:g} s") from error
                except HandlerProcessError as error:
                    if error.begun:
                        suspect = await self._crashed(suspect, error, error.how)
                except MemoryError as error:
                    suspect = await self._crashed(suspect, error, "MemoryError")
                await asyncio.sleep(AGAIN_AFTER)
        finally:
            self._runs -= 1
            if not self._runs:  # the next crash, if there ever is one, starts processes of its own
                await self._pool.close()

    async def _crashed(self, suspect: Suspect, error: Exception, how: str) -> Suspect:
        suspect = self._suspects.crashed(suspect, how)
        log.warning(
            "a suspect crashed its process, alone in it",
            task_id=suspect.id,
            type=suspect.type,
            crashes=suspect.crashes,
            how=suspect.how,
        )
        await self._tell([suspect])
        if suspect.crashes >= self._max_crashes:
            raise PoisonError(
                f"{suspect.crashes} processes crashed while the task ran in them, the last one by {suspect.how} with"
                " nothing else in it; mend the handler or the payload, then send it again"
            ) from error
        return suspect
