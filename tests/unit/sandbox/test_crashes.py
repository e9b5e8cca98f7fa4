"""A crash in the sandbox leaves what a crash leaves: what was durable stands, the rest runs again."""

import asyncio
import time
from typing import Any

import pytest

from laneway import Context, RetryPolicy
from laneway.registry import Registry
from laneway.testing import Crash, Sandbox
from laneway.testing.crashes import MEANINGS, Point
from schemas.status import State

runs: list[str] = []
handlers = Registry()


@pytest.fixture(autouse=True)
def no_runs() -> None:
    runs.clear()


@handlers.task("t.works", retry=RetryPolicy(max_attempts=3))
async def works(payload: dict[str, Any], ctx: Context) -> int:
    """Take a while; fail on the attempts named."""
    name = payload.get("name", "it")
    runs.append(f"{name} begins {ctx.attempt}")
    try:
        await asyncio.sleep(payload.get("seconds", 1))
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(1))
    finally:
        runs.append("cleaned up")
    runs.append(f"{name} ends {ctx.attempt}")
    if ctx.attempt in payload.get("fails_at", ()):
        raise ValueError("no")
    return ctx.attempt


@handlers.task("t.thread")
def in_thread(payload: dict[str, Any], ctx: Context) -> int:
    """Take a while in a thread."""
    runs.append("begin")
    time.sleep(5)
    runs.append("end")
    return ctx.attempt


@handlers.task("t.process", executor="process", retry=RetryPolicy(max_attempts=2))
def in_process(payload: dict[str, Any], ctx: Context) -> int:
    """Crash on the first attempt."""
    if ctx.attempt == 1:
        raise Crash("SIGILL")
    return ctx.attempt


@pytest.mark.parametrize("key", [None, "k"])
@pytest.mark.parametrize(
    ("at", "begun", "ended"),
    [("running", 2, 1), ("before_status", 2, 2), ("after_status", 1, 1), ("after_result", 1, 1)],
)
def test_what_was_not_durable_runs_again(at: Point, begun: int, ended: int, key: str | None) -> None:
    with Sandbox(handlers=handlers) as lane:
        options: dict[str, Any] = {} if key is None else {"ordering_key": key}
        task = lane.submit("t.works", {"name": "it"}, **options)
        behind = lane.submit("t.works", {"name": "behind", "seconds": 3}, **options)
        lane.crash(task.id, at)
        lane.run()
        assert lane.result(task.id) == lane.result(behind.id) == 1
        outcomes = [outcome for outcome in lane.outcomes("t.works") if outcome.id == task.id]
        # Told again where nobody can know that it was told: as the same, which readers drop.
        assert len({(outcome.id, outcome.generation) for outcome in outcomes}) == 1
        assert len(outcomes) == (2 if at == "after_result" else 1)
    assert (runs.count("it begins 1"), runs.count("it ends 1")) == (begun, ended)
    # What ran beside it runs again; at its very first wait, and where the other waits for its key, none had begun.
    assert runs.count("behind begins 1") == (2 if key is None and at != "running" else 1)


@pytest.mark.parametrize("at", ["before_status", "after_status", "after_result"])
def test_a_crash_around_a_retry_neither_loses_nor_doubles_it(at: Point) -> None:
    with Sandbox(handlers=handlers) as lane:
        task = lane.submit("t.works", {"fails_at": [1]})
        lane.crash(task.id, at)
        lane.run()
        status = lane.status(task.id)
        assert (status.state, status.attempt, len(status.errors)) == (State.SUCCEEDED, 2, 1)
    assert runs.count("it ends 2") == 1
    assert runs.count("it ends 1") == (2 if at == "before_status" else 1)


def test_a_killed_process_cleans_nothing_up() -> None:
    with Sandbox(handlers=handlers) as lane:
        task = lane.submit("t.works", {"seconds": 60})
        lane.advance(30)
        lane.kill_worker()
        lane.advance(3600)
        assert lane.status(task.id).state is State.SUCCEEDED
        assert runs == ["it begins 1", "it begins 1", "cleaned up", "it ends 1"]


def test_a_killed_thread_goes_no_further() -> None:
    with Sandbox(handlers=handlers) as lane:
        task = lane.submit("t.thread", {})
        lane.advance(2)
        lane.kill_worker()
        lane.run()
        assert lane.result(task.id) == 1
        assert runs == ["begin", "begin", "end"]


def test_an_operators_kill_condemns_nobody() -> None:
    with Sandbox(handlers=handlers) as lane:
        task = lane.submit("t.works", {"seconds": 60})
        lane.advance(30)
        for _ in range(2):
            lane.kill_worker()
            lane.advance(30)
        lane.run()
        assert lane.result(task.id) == 1
        assert lane.dead_letters("t.works") == []


def test_whoever_crashes_every_time_is_poison_and_neighbours_are_not() -> None:
    with Sandbox(handlers=handlers) as lane:
        guilty = lane.submit("t.works", {})
        neighbours = [lane.submit("t.works", {"seconds": 2}) for _ in range(4)]
        lane.crash(guilty.id, times=100)
        lane.run()
        (letter,) = lane.dead_letters("t.works")
        assert (letter.task_id, letter.reason, letter.attempt) == (guilty.id, "poison", 1)
        assert "3 processes crashed while the task ran in them, the last one by signal SIGSEGV" in letter.error.message
        assert [lane.result(each.id) for each in neighbours] == [1] * 4


def test_a_crash_of_a_handlers_own_process_spends_an_attempt() -> None:
    with Sandbox(handlers=handlers) as lane:
        task = lane.submit("t.process", {})
        lane.run()
        status = lane.status(task.id)
        assert (status.state, status.attempt) == (State.SUCCEEDED, 2)
        assert [error.type for error in status.errors] == ["HandlerProcessError"]
        assert "signal SIGILL" in status.errors[0].message


def test_every_point_has_a_meaning() -> None:
    assert list(MEANINGS) == ["running", "before_status", "after_status", "after_result"]
