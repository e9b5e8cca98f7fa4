"""A handler loop lets in few attempts ahead of handlers that compute, and many ahead of those that wait."""

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any, cast

import pytest

from streams.attempt import Attempt
from streams.handler_loop import HandlerLoop
from streams.scheduler import Room
from tests.support.waiting import eventually


def attempt() -> Attempt[None]:
    nothing = cast("Any", None)
    return Attempt(nothing, nothing, b"", nothing, None)


async def run_through(count: int, handler: Callable[[], Any]) -> tuple[HandlerLoop, int]:
    """Have ``count`` attempts begun as its room allows; answers the most that were ahead in the second half."""
    ended = 0
    most = 0

    async def run(loop: HandlerLoop, one: Attempt[Any]) -> None:
        nonlocal ended
        loop.begun(one)
        result = handler()
        if asyncio.iscoroutine(result):
            await result
        ended += 1

    loop = HandlerLoop("test", run, lambda _: None, 0)
    begun = 0
    while ended < count:
        while begun < count and loop.room is Room.ANY:
            loop.start(attempt())
            begun += 1
            if begun > count // 2:
                most = max(most, loop._left(urgent=False))
        await asyncio.sleep(0.0005)
    return loop, most


async def test_what_may_be_another_workers_by_now_does_not_begin() -> None:
    began: list[bool] = []

    async def run(loop: HandlerLoop, one: Attempt[Any]) -> None:
        began.append(loop.begun(one))

    loop = HandlerLoop("test", run, lambda _: None, 0)
    ours, theirs = attempt(), attempt()
    theirs.may_begin = lambda: False
    for each in (theirs, ours):
        loop.start(each)
    await eventually(lambda: len(began) == 2, within=10)
    loop.close()
    assert began == [False, True]
    assert (theirs.begun, ours.begun) == (False, True)


def burn() -> None:
    end = time.thread_time() + 0.002
    while time.thread_time() < end:
        pass


@pytest.mark.parametrize(("handler", "at_least", "at_most"), [(burn, 1, 4), (lambda: None, 5, 256)])
async def test_as_many_as_begin_within_a_moment(handler: Callable[[], Any], at_least: int, at_most: int) -> None:
    loop, most = await run_through(400, handler)
    loop.close()
    assert at_least <= most <= at_most


async def test_one_slow_start_is_not_remembered_for_ever() -> None:
    calls = 0

    def slow_at_first() -> None:
        nonlocal calls
        calls += 1
        if calls < 30:
            burn()
            burn()

    loop, most = await run_through(2_000, slow_at_first)
    loop.close()
    assert most >= 5


async def test_all_that_wait_run_at_once() -> None:
    waiting = 0

    async def wait() -> None:
        nonlocal waiting
        waiting += 1
        await asyncio.sleep(0.3)

    loop, _ = await run_through(200, wait)
    loop.close()
    assert waiting == 200
    await eventually(lambda: not loop.alive)


async def test_what_is_urgent_begins_before_what_waits_there() -> None:
    begun: list[str] = []
    names: dict[Attempt[Any], str] = {}
    gate = threading.Event()

    async def run(loop: HandlerLoop, one: Attempt[Any]) -> None:
        loop.begun(one)
        begun.append(names[one])
        if len(begun) == 1:
            gate.wait(10)  # a handler that computes
        burn()

    loop = HandlerLoop("test", run, lambda _: None, 0)
    for name in ("first", "second", "third", "urgent"):
        one = attempt()
        one.urgent = name == "urgent"
        names[one] = name
        loop.start(one)
        if name == "first":
            await eventually(lambda: begun == ["first"], within=10)
    gate.set()
    await eventually(lambda: len(begun) == 4, within=10)
    loop.close()
    assert begun.index("urgent") < begun.index("third")


async def test_what_is_cancelled_before_it_begins_never_does() -> None:
    began: list[bool] = []
    gate = threading.Event()

    async def run(loop: HandlerLoop, one: Attempt[Any]) -> None:
        began.append(loop.begun(one))
        gate.wait(10)

    loop = HandlerLoop("test", run, lambda _: None, 0)
    first, second = attempt(), attempt()
    loop.start(first)
    await eventually(lambda: began == [True], within=10)
    loop.start(second)
    loop.cancel(second)
    gate.set()
    await eventually(lambda: len(began) == 2, within=10)
    loop.close()
    assert began == [True, False]


async def test_what_is_urgent_is_let_in_ahead_no_more_than_others() -> None:
    gate = threading.Event()

    async def run(loop: HandlerLoop, one: Attempt[Any]) -> None:
        loop.begun(one)
        gate.wait(10)

    loop = HandlerLoop("test", run, lambda _: None, 0)
    rooms: list[Room] = []
    while loop.room is not Room.NONE and len(rooms) < 1_000:
        rooms.append(loop.room)
        one = attempt()
        one.urgent = loop.room is not Room.ANY
        loop.start(one)
    assert {Room.ANY, Room.HIGH_IN_ITS_SHARE} == set(rooms)
    assert rooms.count(Room.HIGH_IN_ITS_SHARE) <= loop._ahead
    gate.set()
    await eventually(lambda: loop.room is Room.ANY, within=10)
    loop.close()


async def test_each_that_is_cancelled_reports_its_end_whenever_that_is() -> None:
    ended: set[Attempt[Any]] = set()

    async def run(loop: HandlerLoop, one: Attempt[Any]) -> None:
        try:
            if loop.begun(one):
                await asyncio.sleep(60)
        finally:
            ended.add(one)

    loop = HandlerLoop("test", run, lambda _: None, 0)
    started = [attempt() for _ in range(200)]
    for one in started:
        loop.start(one)
        loop.cancel(one)
    await asyncio.sleep(0.1)
    for one in started:  # those that had begun when they were cancelled first
        loop.cancel(one)
    await eventually(lambda: len(ended) == 200, within=10)
    loop.close()
