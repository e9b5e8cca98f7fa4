"""Task types of the tests; a worker gets them by ``--import tests.support.handlers``."""

import asyncio
import os
import re
import signal
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from laneway import Context, RetryPolicy, task

QUICK = RetryPolicy(max_attempts=3, first_delay=timedelta(milliseconds=50), jitter=False)


@task("test.echo")
async def echo(payload: dict[str, Any], ctx: Context) -> dict[str, Any]:
    """Give the payload back."""
    return payload


@task("test.flaky", retry=QUICK)
async def flaky(payload: dict[str, Any], ctx: Context) -> int:
    """Fail until attempt ``ok_at``."""
    if ctx.attempt < payload["ok_at"]:
        raise ValueError(f"not yet: attempt {ctx.attempt}")
    return ctx.attempt


@task("test.failing", retry=QUICK)
async def failing(payload: dict[str, Any], ctx: Context) -> None:
    """Fail always."""
    raise ValueError("never")


@task("test.ledger")
async def ledger(payload: dict[str, Any], ctx: Context) -> None:
    """Write a line at the start and one at the end, ``seconds`` apart and not before ``until`` exists, to ``path``."""
    _note(payload["path"], f"start {ctx.task_id}")
    await asyncio.sleep(payload.get("seconds", 0))
    gate = payload.get("until", payload["path"])
    while not os.path.exists(gate):  # noqa: ASYNC110, ASYNC240, PTH110  (a test opens it; a look takes microseconds)
        await asyncio.sleep(0.05)
    _note(payload["path"], f"end {ctx.task_id}")


@task("test.stumbling", retry=RetryPolicy(max_attempts=3, first_delay=timedelta(seconds=1.2), jitter=False))
async def stumbling(payload: dict[str, Any], ctx: Context) -> None:
    """Fail ``stumbles`` times, and note each step in the file ``path``."""
    _note(payload["path"], f"start {ctx.task_id}")
    await asyncio.sleep(0.01)
    if ctx.attempt <= payload["stumbles"]:
        _note(payload["path"], f"stumble {ctx.task_id}")
        raise ValueError("stumbled")
    _note(payload["path"], f"end {ctx.task_id}")


@task("test.hasty", retry=RetryPolicy(max_attempts=3, first_delay=timedelta(milliseconds=1), jitter=False))
async def hasty(payload: dict[str, Any], ctx: Context) -> int:
    """Fail until the last attempt, which is due before the broker has heard of the failure."""
    if ctx.attempt < ctx.max_attempts:
        raise ValueError("not yet")
    return ctx.attempt


@task("test.bounded", retry=RetryPolicy(max_attempts=1))
async def bounded(payload: dict[str, Any], ctx: Context) -> None:
    """Never end."""
    await asyncio.Event().wait()


@task("test.thread", retry=RetryPolicy(max_attempts=1))
def thread(payload: dict[str, Any], ctx: Context) -> None:
    """Work in a thread until told to stop."""
    while not ctx.cancelled:
        time.sleep(0.01)


@task("test.deaf", retry=RetryPolicy(max_attempts=1))
def deaf(payload: dict[str, Any], ctx: Context) -> None:
    """Work in a thread and listen to nobody."""
    time.sleep(600)


@task("test.process", retry=RetryPolicy(max_attempts=1), executor="process")
def process(payload: dict[str, Any], ctx: Context) -> int:
    """``sleep`` for very long, be ``stuck`` in C code, ``exit`` at once, or say which process this is."""
    if payload["do"] == "stuck":
        _hold_the_interpreter()
    if payload["do"] == "sleep":
        time.sleep(3600)
    if payload["do"] == "exit":
        os._exit(3)
    return os.getpid()


def _note(path: str, line: str) -> None:
    # One write in append mode: whole even when several processes write and one is killed.
    descriptor = os.open(Path(path), os.O_APPEND | os.O_CREAT | os.O_WRONLY)
    try:
        os.write(descriptor, f"{line}\n".encode())
    finally:
        os.close(descriptor)


@task("test.poison", retry=QUICK)
async def poison(payload: dict[str, Any], ctx: Context) -> int:
    """Note the start in the file ``path``, and crash its process the way ``do`` says, unless it is ``nothing``."""
    _note(payload["path"], f"start {ctx.task_id} {os.getpid()}")
    await asyncio.sleep(payload["seconds"])
    if payload["do"] == "abort":
        os.abort()
    if payload["do"] == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if payload["do"] == "exit":
        os._exit(1)
    taken = []
    while payload["do"] == "memory":
        taken.append(bytearray(64 << 20))
    _note(payload["path"], f"end {ctx.task_id} {os.getpid()}")
    return os.getpid()


def _stand_still(*_: object) -> None:
    time.sleep(3600)


def _hold_the_interpreter(*_: object) -> None:
    # The engine backtracks for ages and lets no other thread run meanwhile.
    re.fullmatch(r"(a|aa)+$", "a" * 60 + "b")


# Only the main thread hears signals, and a worker's main loop runs in it: whoever sends one of these stops that loop.
if threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGUSR1, _stand_still)
    signal.signal(signal.SIGUSR2, _hold_the_interpreter)


@task("test.busy", retry=RetryPolicy(max_attempts=1), executor="process")
def busy(payload: dict[str, Any], ctx: Context) -> None:
    """Note the start in the file ``path``, and keep the process busy for very long."""
    _note(payload["path"], f"start {ctx.task_id}")
    while True:
        pass


@task("test.idle", retry=RetryPolicy(max_attempts=1))
def idle(payload: dict[str, Any], ctx: Context) -> None:
    """Note the start in the file ``path``, and keep the thread for very long."""
    _note(payload["path"], f"start {ctx.task_id}")
    time.sleep(600)
