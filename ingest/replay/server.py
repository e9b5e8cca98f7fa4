"""The process that runs replays, started by the API with its standard input as the bond."""

import asyncio
import os
import signal
from typing import Final

import uvloop

from ingest.replay.runner import Runner
from laneway.parent import exit_with_parent
from laneway.registry import Registry
from schemas.settings import Settings

_NICE: Final = 5
"""What was is less urgent than what is: requests and workers go first."""


def serve(settings: Settings, registry: Registry) -> int:
    """Run replays until there is nothing to do, the parent ends, or SIGTERM.

    Blocking: until then.
    """
    exit_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(_NICE)
    uvloop.run(_run(settings, registry))
    return 0


async def _run(settings: Settings, registry: Registry) -> None:
    runner = Runner(settings, registry)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, runner.stop)
    await runner.run()
