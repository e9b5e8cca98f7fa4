"""Task types whose way is watched; API and workers get them by ``--import tests.support.watched_handlers``."""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from laneway import Context, RetryPolicy, task

FLAKY: Final = "watched.flaky"
STEPS: Final = "watched.steps"
QUICK: Final = RetryPolicy(max_attempts=3, first_delay=timedelta(milliseconds=50), jitter=False)


@task(FLAKY, retry=QUICK)
async def flaky(payload: dict[str, Any], ctx: Context) -> int:
    """Fail until attempt ``ok_at``."""
    if ctx.attempt < payload["ok_at"]:
        raise ValueError(f"not yet: attempt {ctx.attempt}")
    return ctx.attempt


@task(STEPS)
async def steps(payload: dict[str, Any], ctx: Context) -> None:
    """Say that it is so many ``percents`` on; from each go on once the file ``gate`` with that percentage is there."""
    gate = Path(payload["gate"])
    for percent in payload["percents"]:
        await ctx.progress(percent, f"{percent} of 100")
        while not await asyncio.to_thread(gate.with_name(f"{gate.name}-{percent}").exists):  # noqa: ASYNC110  (a test makes it)
            await asyncio.sleep(0.01)
