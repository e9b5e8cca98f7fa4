"""A task that runs elsewhere is left alone for as long as the group has the member that claimed it."""

from pathlib import Path
from typing import Any, cast

import pytest
from msgspec import UNSET, UnsetType

from schemas.headers import REPEATED
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


async def test_all_that_was_asked_is_decided_by_what_was_told_of_it(tmp_path: Path) -> None:
    made = dispatcher(tmp_path, runs := Runs())
    repaired: list[str] = []
    cast("Any", made._outcomes).repair = lambda work, _: repaired.append(work.task.id)
    made.assigned(LANE, {0}, "m0")
    (partition,) = made.unopened()
    partition.start = partition.redelivered_until = 5
    made.open_partition(partition)
    repeated = records(5, 7)
    for record in repeated:
        record.headers = ((REPEATED, b"1"),)
    await made.admit(LANE, repeated)
    run = {"type": LANE.type, "priority": LANE.priority}
    # The first asks for a run that was followed by another one, and is acknowledged in the middle of it all.
    overtaken, over = status("5", State.SUCCEEDED, attempt=2, **run), status("6", State.SUCCEEDED, attempt=1, **run)
    elsewhere = {"attempt": 1, "started_at": NOW, "worker": OTHER, "member": "m1"}
    partition.told([overtaken, over, status("7", State.RUNNING, **elsewhere, **run)])
    made.learned(partition, list(partition.parked), frozenset({"m1"}))
    assert (runs.due, repaired) == ([], ["6"])
    assert [work.task.id for work in partition.parked] == ["7"]
    assert partition.claims == {"7": "m1"}
