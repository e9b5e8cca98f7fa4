"""Task types that give alerts their reasons; processes get them by ``--import tests.support.alert_handlers``."""

import asyncio
import time
from pathlib import Path
from typing import Any, Final

from laneway import Context, Reject, RetryLater, task

ORE: Final = "alerts.ore"
CRUSHED: Final = "alerts.crushed"


@task(ORE)
async def ore(payload: dict[str, Any], ctx: Context) -> None:
    """Be refused, be put off, block the loop, or wait for the file ``until``, as ``do`` says; else nothing."""
    match payload.get("do"):
        case "reject":
            raise Reject("no ore")
        case "later":
            raise RetryLater(payload["seconds"])
        case "block":
            time.sleep(payload["seconds"])  # noqa: ASYNC251  (the fault itself)
        case "wait":
            while not Path(payload["until"]).exists():  # noqa: ASYNC110, ASYNC240  (a test makes it)
                await asyncio.sleep(0.02)


@task(CRUSHED)
def crushed(payload: dict[str, Any], ctx: Context) -> int:
    """Compute in one call into C, which lets no other thread run meanwhile."""
    return sum(range(payload["size"]))
