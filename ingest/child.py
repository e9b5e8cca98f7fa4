"""Child processes of the API."""

import asyncio
import contextlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import Final

from schemas.settings import Settings, environment_for

_STOP_SECONDS: Final = 3.0


async def run_child(
    settings: Settings,
    module: str,
    arguments: Sequence[str] = (),
    *,
    started: Callable[[int | None], None] = lambda _: None,
    stop_within: float = _STOP_SECONDS,
) -> int:
    """Run a module of ours as a process, with its standard input as the bond, until it ends.

    Cancelled, it ends the process in order, or by force once ``stop_within`` is over.

    Args:
        settings: for the child's environment.
        module: to be run; it has to call ``laneway.parent.exit_with_parent``.
        arguments: for it.
        started: gets its process id, and ``None`` when it has ended.
        stop_within: seconds that it has to stop.

    Returns:
        Its exit code.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",  # a folder of the user's called `schemas` must not stand in for ours
        "-m",
        module,
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        env=environment_for(settings),
        # A Ctrl-C in the terminal is ours to handle; the child ends with its standard input.
        # Not by a session, see laneway.stack.children; uvloop knows no process_group.
        preexec_fn=os.setpgrp,
    )
    started(process.pid)
    try:
        return await process.wait()
    finally:
        started(None)
        if process.stdin is not None:
            process.stdin.close()
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            try:
                await asyncio.wait_for(process.wait(), stop_within)
            except TimeoutError:  # it hangs in a call to a broker that is away; what it wrote is whole anyway
                process.kill()
                await process.wait()
