"""When a worker opens a partition that comes to it, and when it starts what others had claimed there."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from schemas.errors import BrokerUnavailableError
from schemas.settings import KafkaSettings, Settings
from schemas.status import State, Status
from streams import last_words, takeovers
from streams.dispatcher import Dispatcher
from streams.last_words import LAST_WORDS_WITHIN
from streams.markers import News, Question, Takeover
from streams.takeovers import Takeovers
from tests.support.dispatching import LANE, Runs, dispatcher, records
from tests.support.views import NOW, status
from tests.support.waiting import eventually

RUN = {"type": LANE.type, "priority": LANE.priority, "attempt": 1}
ENDED = status("5", State.SUCCEEDED, **RUN)
CLAIMED = status("5", State.RUNNING, started_at=NOW, worker="another", member="m1", **RUN)


class World:
    """The group, and the log as far as markers tell of it; each look is noted by its time."""

    def __init__(self, *, handed_over: bool, told: Status | None = None, alive: frozenset[str] = frozenset()) -> None:
        self.looks: list[float] = []
        self.asked: list[str] = []
        self.troubles: list[Exception] = []
        self.told = told
        self.leaves_at_next_read = False
        self.repaired: list[str] = []
        self.loop = asyncio.get_running_loop()
        self._handed_over = handed_over
        self._alive = alive

    def take_over(self, _: object, __: object, heard_out: set[int]) -> dict[int, Takeover]:
        self.looks.append(time.monotonic())
        self.asked.append("status")
        if self.troubles:
            raise self.troubles.pop()
        told = self._read()
        return {0: Takeover(told, 5, 6)} if heard_out or self._handed_over else {}

    def follow(self, _: object, questions: Mapping[int, Question]) -> dict[int, News]:
        self.asked.append("status")
        assert questions[0].claimed == {"5"}
        if self.troubles:
            raise self.troubles.pop()
        return {0: News(self._read(), 0)}

    def _read(self) -> dict[str, Status]:
        told = self.told
        if self.leaves_at_next_read:  # right after this read, having told the end of all that it ran
            self._alive, self.told = frozenset(), ENDED
        return {told.id: told} if told is not None else {}

    async def alive(self) -> frozenset[str]:
        self.asked.append("group")
        return self._alive

    def leave(self) -> None:
        self._alive = frozenset()

    async def missed(self) -> None:
        """Leave, and wait until that was seen."""
        self.leave()
        looked = len(self.asked)
        await eventually(lambda: len(self.asked) >= looked + 4, within=10)

    async def committed_before(self, _: object) -> dict[int, Any]:
        return {}

    def close(self) -> None: ...

    def read(self, _: object) -> tuple[()]:
        return ()

    async def own(self, _: object) -> None: ...

    async def current(self, _: object) -> None: ...

    def learn(self, _: object) -> None: ...


@asynccontextmanager
async def taking_over(world: World, tmp_path: Path) -> AsyncIterator[tuple[Dispatcher, Runs]]:
    """A worker that has just been given partition 0, of which record 5 had been somebody else's."""
    made = dispatcher(tmp_path, runs := Runs())
    cast("Any", made._outcomes).repair = lambda work, _: world.repaired.append(work.task.id)
    made.assigned(LANE, {0}, "member")
    await made.admit(LANE, records(5, 5))
    parts = cast("Any", world)
    settings = Settings(data_dir=tmp_path, kafka=KafkaSettings(bootstrap_servers="127.0.0.1:1"))
    under_test = Takeovers(settings, made, parts, parts, cast("Any", {LANE: SimpleNamespace(consumer=world)}))
    under_test._markers = under_test._suspects = parts
    following = asyncio.create_task(under_test.run())
    try:
        yield made, runs
    finally:
        following.cancel()
        await asyncio.wait([following])
        assert following.cancelled()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(takeovers, "_FOLLOW_EVERY", 0.05)
    monkeypatch.setattr(takeovers, "_TRY_AGAIN_AFTER", 0.05)


def waited(world: World) -> float:
    """Seconds between the last two looks."""
    return world.looks[-1] - world.looks[-2]


async def test_what_is_handed_over_opens_at_once(tmp_path: Path) -> None:
    world = World(handed_over=True)
    async with taking_over(world, tmp_path) as (made, runs):
        await eventually(lambda: runs.due == [5], within=10)
        assert not made.unopened()
    assert len(world.looks) == 1


async def test_of_what_is_not_the_last_words_are_heard(tmp_path: Path) -> None:
    world = World(handed_over=False)
    async with taking_over(world, tmp_path) as (made, runs):
        await eventually(lambda: world.looks, within=10)
        world.told = ENDED
        await eventually(lambda: not made.unopened(), within=10)
        assert (runs.due, world.repaired) == ([], ["5"])
    assert len(world.looks) == 2
    assert waited(world) >= LAST_WORDS_WITHIN


async def test_last_words_have_their_time_again_after_a_broker_stood_still(tmp_path: Path) -> None:
    world = World(handed_over=False)
    async with taking_over(world, tmp_path) as (made, _):
        await eventually(lambda: world.looks, within=10)
        world.troubles.append(BrokerUnavailableError("stands still"))
        await eventually(lambda: not made.unopened(), within=10)
    assert len(world.looks) == 4
    assert waited(world) >= LAST_WORDS_WITHIN


@pytest.mark.parametrize("handed_over", [True, False])
async def test_who_is_alive_is_asked_before_what_was_told(handed_over: bool, tmp_path: Path) -> None:
    world = World(handed_over=handed_over, told=CLAIMED, alive=frozenset({"m1"}))
    async with taking_over(world, tmp_path) as (made, runs):
        if not handed_over:
            await eventually(lambda: world.looks, within=10)
        world.leaves_at_next_read = True
        await eventually(lambda: world.repaired, within=10)
        assert runs.due == []
        assert not made.unopened()
    assert world.asked[:2] == ["group", "status"]


async def test_what_is_claimed_starts_only_after_the_last_words_of_who_claimed_it(tmp_path: Path) -> None:
    world = World(handed_over=True, told=CLAIMED, alive=frozenset({"m1"}))
    async with taking_over(world, tmp_path) as (made, runs):
        await eventually(made.with_parked, within=10)
        left_at = time.monotonic()
        world.leave()
        await eventually(lambda: runs.due == [5], within=10)
        assert time.monotonic() - left_at >= LAST_WORDS_WITHIN


async def test_an_end_among_the_last_words_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(last_words, "LAST_WORDS_WITHIN", 0.5)
    world = World(handed_over=True, told=CLAIMED, alive=frozenset({"m1"}))
    async with taking_over(world, tmp_path) as (made, runs):
        await eventually(made.with_parked, within=10)
        await world.missed()
        world.told = ENDED
        await eventually(lambda: world.repaired, within=10)
        assert runs.due == []


async def test_who_had_gone_before_the_last_words_were_waited_for_is_not_waited_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(takeovers, "_FOLLOW_EVERY", 60)
    world = World(handed_over=False, told=CLAIMED)
    async with taking_over(world, tmp_path) as (made, runs):
        await eventually(lambda: runs.due == [5], within=10)
        assert not made.with_parked()


async def test_the_last_words_of_who_claimed_have_their_time_again_after_a_broker_stood_still(tmp_path: Path) -> None:
    world = World(handed_over=True, told=CLAIMED, alive=frozenset({"m1"}))
    async with taking_over(world, tmp_path) as (made, runs):
        await eventually(made.with_parked, within=10)
        await world.missed()
        world.troubles.append(BrokerUnavailableError("stands still"))
        await eventually(lambda: not world.troubles, within=10)
        stood_still_until = time.monotonic()
        await eventually(lambda: runs.due == [5], within=10)
        assert time.monotonic() - stood_still_until >= LAST_WORDS_WITHIN


async def test_a_failure_holds_up_no_later_assignment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(takeovers, "_TRY_AGAIN_AFTER", 60)
    world = World(handed_over=True)
    world.troubles.append(BrokerUnavailableError("the group is rebalancing"))
    async with taking_over(world, tmp_path) as (made, _):
        await eventually(lambda: not world.troubles, within=10)
        made.assigned(LANE, {0}, "member")
        await eventually(lambda: not made.unopened(), within=10)
