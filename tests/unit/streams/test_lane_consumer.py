"""The lane's consumer lets no record be passed over: what a rebalance threw away is read again."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from schemas.task import Lane, Priority
from streams.lane_app import LaneConsumer

ONE, TWO = TP("lane", 0), TP("lane", 1)


class Thread:
    """Stands for the consumer's thread: notes what is asked of it."""

    def __init__(self) -> None:
        self.sought: list[dict[TP, int]] = []

    async def call_thread(self, _: Callable[..., Any], offsets: dict[TP, int]) -> None:
        self.sought.append(dict(offsets))


def consumer(**expected: int) -> tuple[LaneConsumer, Thread]:
    made, thread = LaneConsumer.__new__(LaneConsumer), Thread()
    made._expected = {{"one": ONE, "two": TWO}[name]: offset for name, offset in expected.items()}
    made._asked_again = {}
    made._thread = thread  # type: ignore[assignment]
    made.app = SimpleNamespace(lane=Lane("email", Priority.LOW))  # type: ignore[assignment]
    return made, thread


def batch(first: int, last: int) -> list[Any]:
    return [SimpleNamespace(offset=offset) for offset in range(first, last + 1)]


async def test_a_partition_that_moved_on_is_read_again_and_others_go_on() -> None:
    made, thread = consumer(one=3, two=7)
    taken = await made._without_gaps({ONE: batch(5, 9), TWO: batch(7, 8)})
    assert list(taken) == [TWO]
    assert thread.sought == [{ONE: 3}]
    assert list(await made._without_gaps({ONE: batch(3, 9)})) == [ONE]


async def test_a_gap_of_the_log_is_passed_over_once_it_came_again() -> None:
    made, thread = consumer(one=3)
    assert await made._without_gaps({ONE: batch(5, 9)}) == {}
    assert list(await made._without_gaps({ONE: batch(5, 9)})) == [ONE]
    assert len(thread.sought) == 1


async def test_records_that_come_again_are_no_gap() -> None:
    made, thread = consumer(one=3)
    assert list(await made._without_gaps({ONE: batch(0, 2)})) == [ONE]
    assert thread.sought == []


async def test_what_came_through_a_rebalance_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    made, thread = consumer(one=3)

    async def fetched_after_the_seek(*_: object) -> dict[TP, list[Any]]:
        made.app.consumer_generation_id += 1
        return {ONE: batch(3, 9), TWO: batch(0, 1)}

    made._taken_at = 0.0
    made.flow_active = True
    made.app.consumer_generation_id = 1
    monkeypatch.setattr(driver.Consumer, "_getmany", fetched_after_the_seek)
    assert await made._getmany({ONE, TWO}, 1.0) == {}
    assert thread.sought == [{ONE: 3}]
