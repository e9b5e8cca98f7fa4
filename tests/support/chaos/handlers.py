"""Task types of the fault scenarios; processes get them by ``--import tests.support.chaos.handlers``."""

import asyncio
import os
import time
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from laneway import Context, RetryPolicy, task
from tests.support.chaos.runs import note, take_effect

WORK: Final = "chaos.work"
BLOCKING: Final = "chaos.blocking"
DEADLY: Final = "chaos.deadly"
ENDLESS: Final = "chaos.endless"
TYPES: Final = (WORK, BLOCKING, DEADLY, ENDLESS)

QUICK: Final = RetryPolicy(max_attempts=3, first_delay=timedelta(milliseconds=200), jitter=False)


class PlannedError(Exception):
    """A failure that the payload asked for."""


async def _work(payload: dict[str, Any], ctx: Context) -> int:
    note(payload["runs"], "start", ctx, payload["number"])
    await asyncio.sleep(payload.get("seconds", 0.0))
    # Whoever opens the gate is another process: a file says so, and a look at it does not block.
    while "until" in payload and not Path(payload["until"]).exists():  # noqa: ASYNC110, ASYNC240
        await asyncio.sleep(0.05)
    if "effects" in payload:
        take_effect(payload["effects"], ctx)
    note(payload["runs"], "end", ctx, payload["number"])
    if ctx.attempt < payload.get("ok_at", 1):
        raise PlannedError(f"attempt {ctx.attempt} was to fail")
    return int(payload["number"])


@task(WORK, retry=QUICK)
async def work(payload: dict[str, Any], ctx: Context) -> int:
    """Take ``seconds``, wait for the file ``until``, have one effect, and fail until attempt ``ok_at``.

    Every run is noted in ``runs``.
    """
    return await _work(payload, ctx)


@task(BLOCKING, retry=RetryPolicy(max_attempts=1))
async def blocking(payload: dict[str, Any], ctx: Context) -> int:
    """Hold up the loop that it runs on for ``block`` seconds, as careless code does."""
    note(payload["runs"], "start", ctx, payload["number"])
    time.sleep(payload["block"])  # noqa: ASYNC251  (the fault itself)
    note(payload["runs"], "end", ctx, payload["number"])
    return int(payload["number"])


@task(DEADLY, retry=QUICK)
async def deadly(payload: dict[str, Any], ctx: Context) -> int:
    """End the whole process, as a fault in a C extension does, where the payload says ``abort``; else work."""
    if payload.get("abort"):
        note(payload["runs"], "start", ctx, payload["number"])
        os.abort()
    return await _work(payload, ctx)


@task(ENDLESS, retry=RetryPolicy(max_attempts=2, first_delay=timedelta(milliseconds=200), jitter=False))
async def endless(payload: dict[str, Any], ctx: Context) -> None:
    """Never return."""
    note(payload["runs"], "start", ctx, payload["number"])
    await asyncio.Event().wait()
