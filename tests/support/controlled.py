"""Task types for tests of cancelling, holding, rates and paused keys; few, so that an API has few topics to verify."""

import asyncio
import os
import time
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from laneway import Context, PauseKey, RetryPolicy, task

TYPES: Final = ("ctl.async", "ctl.thread", "ctl.process", "ctl.failing", "ctl.keyed", "ctl.rated")
MODULE: Final = "tests.support.controlled"


@task("ctl.async", retry=RetryPolicy(max_attempts=3, first_delay=timedelta(seconds=30), jitter=False))
async def in_a_loop(payload: dict[str, Any], ctx: Context) -> str:
    """Note the start; then ``wait``, ``look`` until it is cancelled, ``finish`` after 0.5 s, or ``fail``."""
    _note(payload["path"], "start", ctx)
    do = payload.get("do")
    if do == "wait":
        await asyncio.sleep(600)
    while do == "look" and not ctx.cancelled:  # noqa: ASYNC110  (as users write it)
        await asyncio.sleep(0.02)
    if do == "finish":
        await asyncio.sleep(0.5)
    if do == "fail":
        raise ValueError("as asked")
    return "done"


@task("ctl.thread")
def in_a_thread(payload: dict[str, Any], ctx: Context) -> str:
    """Note the start; then ``look`` until it is cancelled, or be deaf for half a minute."""
    _note(payload["path"], "start", ctx)
    if payload.get("do") == "deaf":
        time.sleep(30)
    while payload.get("do") == "look" and not ctx.cancelled:
        time.sleep(0.02)
    return "done"


@task("ctl.process", executor="process")
def in_a_process(payload: dict[str, Any], ctx: Context) -> str:
    """As ``ctl.thread``."""
    return in_a_thread(payload, ctx)


@task("ctl.failing", retry=RetryPolicy(max_attempts=1))
async def failing(payload: dict[str, Any], ctx: Context) -> None:
    """Fail, unless told ``well``."""
    if not payload.get("well"):
        raise ValueError("a bad deploy")


@task("ctl.keyed", key_rate="5/s")
async def keyed(payload: dict[str, Any], ctx: Context) -> None:
    """Note the start; the first run of a task with ``pause`` pauses its key for so many seconds."""
    _note(payload["path"], "start", ctx)
    marker = Path(f"{payload['path']}.{ctx.task_id}")
    if payload.get("pause") and not marker.exists():  # noqa: ASYNC240  (microseconds)
        marker.touch()  # noqa: ASYNC240
        raise PauseKey(payload["pause"], "429 from the other side")
    _note(payload["path"], "end", ctx)


@task("ctl.rated", rate="20/s")
async def rated(payload: dict[str, Any], ctx: Context) -> None:
    """Note the start."""
    _note(payload["path"], "start", ctx)


def _note(path: str, what: str, ctx: Context) -> None:
    descriptor = os.open(Path(path), os.O_APPEND | os.O_CREAT | os.O_WRONLY)
    try:
        os.write(descriptor, f"{what} {ctx.task_id} {time.time()}\n".encode())
    finally:
        os.close(descriptor)
