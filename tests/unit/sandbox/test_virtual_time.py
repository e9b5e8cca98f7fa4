"""Virtual time passes only where nothing real is under way, and costs none of the real one."""

import asyncio
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from laneway import Context, RetryPolicy
from laneway.registry import Registry
from laneway.testing import Sandbox
from schemas.errors import SandboxError
from schemas.status import State

AN_HOUR = 3600.0
handlers = Registry()


@pytest.fixture(autouse=True)
def no_hour_passes() -> Iterator[None]:
    began = time.monotonic()
    yield
    assert time.monotonic() - began < 30


@handlers.task("t.joins", timeout=None)
async def joins(payload: dict[str, Any]) -> str:
    """Wait for an hour in every way that asyncio has."""
    way: str = payload["way"]
    if way == "sleep":
        await asyncio.sleep(AN_HOUR)
    elif way == "gather":
        await asyncio.gather(asyncio.sleep(AN_HOUR), asyncio.sleep(1))
    elif way == "group":
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(AN_HOUR))
            group.create_task(asyncio.sleep(1))
    elif way == "wait":
        await asyncio.wait([asyncio.create_task(asyncio.sleep(AN_HOUR))])
    elif way == "wait_for":
        await asyncio.wait_for(asyncio.sleep(AN_HOUR), 2 * AN_HOUR)
    elif way == "lock":
        lock = asyncio.Lock()

        async def hold() -> None:
            async with lock:
                await asyncio.sleep(AN_HOUR)

        holder = asyncio.create_task(hold())
        await asyncio.sleep(0)
        async with lock:
            await holder
    return way


@pytest.mark.parametrize("way", ["sleep", "gather", "group", "wait", "wait_for", "lock"])
def test_waiting_for_timers_and_tasks_needs_no_patience(way: str) -> None:
    # So much patience that a single use of it would be noticed.
    with Sandbox(handlers=handlers, patience=60) as lane:
        task = lane.submit("t.joins", {"way": way})
        lane.run()
        status = lane.status(task.id)
    assert status.state is State.SUCCEEDED
    assert status.finished_at is not None
    assert status.finished_at - status.created_at >= timedelta(hours=1)


@handlers.task("t.sleeps", timeout=timedelta(hours=5))
def sleeps(payload: dict[str, Any]) -> str:
    """Sleep in a thread, and in one that the thread made, which is no business of the clock's."""
    other = threading.Thread(target=time.sleep, args=(0.01,))
    other.start()
    other.join()
    time.sleep(payload["seconds"])
    return threading.current_thread().name


def test_time_sleep_in_a_def_handler_takes_no_real_time() -> None:
    with Sandbox(handlers=handlers) as lane:
        task = lane.submit("t.sleeps", {"seconds": 3600})
        lane.advance(3599)
        assert lane.status(task.id).state is State.RUNNING
        lane.advance(2)
        assert lane.result(task.id) == "handler"
        assert time.sleep.__module__ == "laneway.testing.threads"
    assert time.sleep.__module__ == "time"


@handlers.task("t.real", timeout=timedelta(seconds=1))
async def real(payload: dict[str, Any]) -> Any:
    """Wait for something real."""
    released = payload["how"]
    loop = asyncio.get_running_loop()
    if released == "to_thread":
        return await asyncio.to_thread(_computes)
    if released == "socket":
        server = await asyncio.start_unix_server(_echo, path=payload["path"])
        async with server:
            reader, writer = await asyncio.open_unix_connection(payload["path"])
            writer.write(b"hello\n")
            answer = await reader.readline()
            writer.close()
            await writer.wait_closed()
        return answer.decode()
    future = loop.create_future()  # as a library with a thread of its own would wait
    threading.Timer(0.2, lambda: loop.call_soon_threadsafe(future.set_result, "foreign")).start()
    return await future


def _computes() -> int:
    return sum(number % 7 for number in range(3_000_000))


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(await reader.readline())
    writer.close()


@pytest.mark.parametrize("how", ["to_thread", "socket", "foreign"])
def test_the_clock_waits_for_what_is_real(how: str, tmp_path: Any) -> None:
    with Sandbox(handlers=handlers, patience=20) as lane:
        task = lane.submit("t.real", {"how": how, "path": str(tmp_path / "socket")})
        lane.run()
        status = lane.status(task.id)
    # Had the clock gone on, the time-out of a second would have struck.
    assert status.state is State.SUCCEEDED, status.error
    assert status.finished_at == status.created_at


@handlers.task("t.stuck", retry=RetryPolicy(max_attempts=1), timeout=timedelta(minutes=5))
async def stuck(payload: dict[str, Any]) -> None:
    """Wait for what never comes."""
    await asyncio.Event().wait()


def test_patience_ends() -> None:
    with Sandbox(handlers=handlers, patience=0.01) as lane:
        task = lane.submit("t.stuck", {})
        lane.run()
        (letter,) = lane.dead_letters("t.stuck")
    assert (letter.task_id, letter.error.type) == (task.id, "TaskTimeoutError")


_gate = threading.Event()


@handlers.task("t.blocks")
def blocks(payload: dict[str, Any]) -> None:
    """Hold a thread for real."""
    _gate.wait(20)


def test_a_thread_that_does_not_return_is_named() -> None:
    with Sandbox(handlers=handlers, stalled_after=0.1) as lane:
        lane.submit("t.blocks", {})
        with pytest.raises(SandboxError, match="a thread of a handler is at work"):
            lane.run()
        _gate.set()


@handlers.task("t.tells")
async def tells(payload: dict[str, Any], ctx: Context) -> list[str]:
    """Tell what time it is at most."""
    assert ctx.deadline is not None
    return [ctx.deadline.isoformat()]


def test_times_are_the_clocks() -> None:
    start = datetime(2031, 5, 6, 7, 8, 9, tzinfo=UTC)
    with Sandbox(handlers=handlers, now=start) as lane:
        lane.advance(timedelta(days=1))
        assert lane.now == start + timedelta(days=1)
        task = lane.submit("t.tells", {}, run_at=start + timedelta(days=2))
        lane.run()
        status = lane.status(task.id)
        assert status.created_at == start + timedelta(days=1)
        assert status.started_at is not None
        assert timedelta(0) <= status.started_at - (start + timedelta(days=2)) < timedelta(seconds=0.01)
        assert lane.result(task.id) == [(status.started_at + timedelta(minutes=5)).isoformat()]
        (outcome,) = lane.outcomes("t.tells")
        assert outcome.finished_at == status.finished_at
        assert {event.at for event in lane.events(task.id)} <= {status.created_at, status.finished_at}
        with pytest.raises(ValueError, match="time does not go back"):
            lane.advance(-1)
