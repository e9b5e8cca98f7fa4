"""Task types of the tests of waiting; processes get them by ``--import tests.support.due_handlers``."""

import asyncio
import os
import time
from typing import Any, Final

from laneway import Context, task

DUE: Final = "test.due"
OTHER: Final = "test.other"


@task(DUE)
async def due(payload: dict[str, Any], ctx: Context) -> None:
    """Note in the file ``path`` when which task started."""
    started = time.time_ns()
    # One write in append mode: whole even when several processes write and one is killed.
    descriptor = os.open(payload["path"], os.O_APPEND | os.O_CREAT | os.O_WRONLY)
    try:
        os.write(descriptor, b"%d %d\n" % (payload["number"], started))
    finally:
        os.close(descriptor)


@task(OTHER)
async def other(payload: dict[str, Any], ctx: Context) -> None:
    """Be there."""
    await asyncio.sleep(0.005)
