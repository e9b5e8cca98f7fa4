"""The task types of the benchmark; the API and the workers get them by ``--import laneway.bench.tasks``."""

import asyncio
import time
from typing import Any, Final

from laneway import task

MODULE: Final = "laneway.bench.tasks"
CPU_SECONDS: Final = 0.001
WAIT_SECONDS: Final = 0.005
SLEEP_SECONDS: Final = 1.0


def burn(seconds: float) -> None:
    """Use this much CPU: counted by the thread's own clock, so that a busy machine does not shorten the work."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


@task("bench.noop")
async def noop(_payload: dict[str, Any]) -> dict[str, bool]:
    """Do nothing."""
    return {"ok": True}


@task("bench.cpu")
async def cpu(_payload: dict[str, Any]) -> dict[str, bool]:
    """Use 1 ms of CPU."""
    burn(CPU_SECONDS)
    return {"ok": True}


@task("bench.wait")
async def wait(_payload: dict[str, Any]) -> dict[str, bool]:
    """Wait 5 ms, as for an answer over the network."""
    await asyncio.sleep(WAIT_SECONDS)
    return {"ok": True}


@task("bench.sleep")
async def sleep(_payload: dict[str, Any]) -> dict[str, bool]:
    """Wait 1 s."""
    await asyncio.sleep(SLEEP_SECONDS)
    return {"ok": True}
