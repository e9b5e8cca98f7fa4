"""Task types of the scenarios; a worker gets them by ``--import tests.support.semantics.handlers``.

Few types with many ways, for each type is three lanes that a real worker has to join.
"""

import asyncio
import os
import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel

from laneway import Context, PauseKey, Reject, RetryLater, RetryPolicy, task

TYPES: Final = ("semantics.async", "semantics.process", "semantics.thread")

crash: Callable[[Context], object] = lambda _: os.abort()  # noqa: E731  (a sandbox puts its own here)
"""Crash the process that runs the task, here and now."""


def _wait_and_abort(go: str) -> None:
    while not Path(go).exists():
        time.sleep(0.02)
    os.abort()


crash_once_told: Callable[[Context, str], object] = lambda _, go: threading.Thread(  # noqa: E731
    target=_wait_and_abort, args=(go,), daemon=True
).start()
"""Crash it when the outcome is durable, and its offset not committed yet; the scenario makes the file ``go`` then."""

_deferred: Counter[str] = Counter()


class Letter(BaseModel):
    """A payload that can be refused, and a result."""

    do: str
    to: str = "ada"
    path: str | None = None


@task(
    "semantics.async",
    retry=RetryPolicy(max_attempts=3, first_delay=timedelta(seconds=0.2), jitter=False, never=(KeyError,)),
)
async def in_async(payload: dict[str, Any], ctx: Context) -> Any:
    """Do what the payload says in ``do``."""
    return await _WAYS[payload["do"]](payload, ctx)


@task("semantics.thread", retry=RetryPolicy(max_attempts=1))
def in_thread(payload: Letter, ctx: Context) -> Letter:
    """Give the payload back, or work until told to stop, and note that."""
    while payload.do == "work" and not ctx.cancelled:
        time.sleep(0.01)
    note(payload.model_dump(), payload.do)
    return payload


@task("semantics.process", retry=RetryPolicy(max_attempts=1), executor="process")
def in_process(payload: dict[str, Any], ctx: Context) -> str:
    """Work in a process, for ``seconds``."""
    time.sleep(payload["seconds"])
    return ctx.idempotency_key


async def _echo(payload: dict[str, Any], ctx: Context) -> Any:
    return {"payload": payload, "labels": ctx.labels, "key": ctx.idempotency_key}


async def _flaky(payload: dict[str, Any], ctx: Context) -> Any:
    note(payload, ctx.idempotency_key)
    if ctx.attempt < payload["ok_at"]:
        raise ValueError(f"not yet: attempt {ctx.attempt}")
    return {"attempt": ctx.attempt, "max_attempts": ctx.max_attempts}


async def _reject(payload: dict[str, Any], ctx: Context) -> None:
    raise Reject("no such customer")


async def _never(payload: dict[str, Any], ctx: Context) -> None:
    raise KeyError("customer")


async def _object(payload: dict[str, Any], ctx: Context) -> object:
    return object()


async def _defer(payload: dict[str, Any], ctx: Context) -> int:
    _deferred[ctx.task_id] += 1
    if _deferred[ctx.task_id] <= payload["times"]:
        raise RetryLater(0.3, "not open yet")
    return ctx.attempt


async def _pause_key(payload: dict[str, Any], ctx: Context) -> None:
    _deferred[ctx.task_id] += 1
    if _deferred[ctx.task_id] <= payload["pauses"]:
        note(payload, f"pause {payload['number']}")
        raise PauseKey(0.5)
    note(payload, f"end {payload['number']}")


async def _stumble(payload: dict[str, Any], ctx: Context) -> None:
    note(payload, f"start {payload['number']}")
    await asyncio.sleep(0.01)
    if ctx.attempt <= payload["stumbles"]:
        note(payload, f"stumble {payload['number']}")
        raise ValueError("stumbled")
    note(payload, f"end {payload['number']}")


async def _sleep(payload: dict[str, Any], ctx: Context) -> int:
    note(payload, f"start {payload['number']}")
    await asyncio.sleep(payload["seconds"])
    return ctx.attempt


async def _report(payload: dict[str, Any], ctx: Context) -> None:
    await ctx.progress(50, "half")
    await asyncio.sleep(0.5)


async def _endless(payload: dict[str, Any], ctx: Context) -> None:
    try:
        await asyncio.sleep(3600)
    finally:
        note(payload, "cancelled")


async def _crash(payload: dict[str, Any], ctx: Context) -> None:
    await _sleep(payload, ctx)
    crash(ctx)


async def _crash_once_told(payload: dict[str, Any], ctx: Context) -> int:
    attempt = await _sleep(payload, ctx)
    crash_once_told(ctx, payload["go"])
    return attempt


_WAYS: Final = {
    "echo": _echo,
    "flaky": _flaky,
    "reject": _reject,
    "never": _never,
    "object": _object,
    "defer": _defer,
    "pause_key": _pause_key,
    "stumble": _stumble,
    "sleep": _sleep,
    "report": _report,
    "endless": _endless,
    "crash": _crash,
    "crash_once_told": _crash_once_told,
}


def note(payload: dict[str, Any], line: str) -> None:
    """Add a line to the scenario's file, if it has one; whole, whichever process writes and is killed."""
    if not payload.get("path"):
        return
    descriptor = os.open(Path(payload["path"]), os.O_APPEND | os.O_CREAT | os.O_WRONLY)
    try:
        os.write(descriptor, f"{line}\n".encode())
    finally:
        os.close(descriptor)
