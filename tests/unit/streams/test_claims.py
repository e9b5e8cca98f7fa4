"""A task that runs elsewhere is left alone for as long as the group has the member that claimed it."""

from pathlib import Path
from typing import Any

import pytest
from msgspec import UNSET, UnsetType

from schemas.status import State, Status
from tests.support.dispatching import LANE, WORKER, Runs, dispatcher, records
from tests.support.views import NOW, status

OTHER = "another"


def running(worker: str, member: str | UnsetType) -> Status:
    run = {"attempt": 1, "started_at": NOW, "worker": worker, "member": member}
    return status("5", State.RUNNING, type=LANE.type, priority=LANE.priority, **run)


@pytest.mark.parametrize(
    ("claim", "alive", "starts"),
    [
        pytest.param(running(OTHER, "m1"), {OTHER, "m1"}, False, id="lives"),
        pytest.param(running(OTHER, "m1"), {OTHER, "m2"}, True, id="was given up, and came back"),
        pytest.param(running(OTHER, "m1"), set(), True, id="is gone"),
        pytest.param(running(OTHER, UNSET), {OTHER, "m2"}, False, id="lives, and told no member"),
        pytest.param(running(OTHER, UNSET), set(), True, id="is gone, and told no member"),
        pytest.param(running(WORKER, "m0"), {WORKER, "m0"}, True, id="this very worker, which does not run it"),
    ],
)
async def test_a_claim_is_a_members(claim: Status, alive: set[str], starts: bool, tmp_path: Path) -> None:
    made = dispatcher(tmp_path, runs := Runs())
    made.assigned(LANE, {0}, "m0")
    await made.admit(LANE, records(5, 5))
    (partition,) = made.unopened()
    partition.redelivered_until = 6
    partition.told([claim])
    partition.alive = frozenset(alive)
    made.open_partition(partition)
    assert runs.due == ([5] if starts else [])
    assert len(partition.parked) == (not starts)


async def test_what_is_left_alone_starts_once_its_member_is_gone(tmp_path: Path) -> None:
    made = dispatcher(tmp_path, runs := Runs())
    made.assigned(LANE, {0}, "m0")
    await made.admit(LANE, records(5, 5))
    (partition,) = made.unopened()
    partition.redelivered_until = 6
    partition.told([running(OTHER, "m1")])
    partition.alive = frozenset({OTHER, "m1"})
    made.open_partition(partition)
    asked: list[Any] = list(partition.parked)
    made.learned(partition, asked, frozenset({OTHER, "m1"}))
    assert runs.due == []
    made.learned(partition, asked, frozenset({OTHER, "m2"}))
    assert runs.due == [5]


async def test_who_was_told_to_run_what_is_known_until_it_ends(tmp_path: Path) -> None:
    made = dispatcher(tmp_path, Runs())
    made.assigned(LANE, {0}, "m0")
    (partition,) = made.unopened()
    partition.told([running(OTHER, "m1")])
    assert partition.claims == {"5": "m1"}
    partition.told([status("5", State.SUCCEEDED, type=LANE.type, priority=LANE.priority, attempt=1)])
    assert partition.claims == {}
    partition.told([running(OTHER, "m1")])
    assert partition.claims == {}
