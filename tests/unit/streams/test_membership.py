"""A lease counts from when the group was told something, however late its answer is looked at."""

import time
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import NoError, RebalanceInProgressError, UnknownMemberIdError
from aiokafka.protocol.group import HeartbeatRequest, JoinGroupRequest, SyncGroupRequest
from faust.types import TP

from schemas.task import Lane, Priority
from streams.lane_consumer import LaneConsumer
from streams.membership import MemberThread

HEARTBEAT = HeartbeatRequest("group", 1, "member")
SYNC = SyncGroupRequest("group", 1, "member", "", [])
JOIN = JoinGroupRequest("group", 6000, 10000, "", "", "consumer", [])


class Coordinator:
    """Answers everything with one code, after a while during which the process may stand still."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1_000.0
        self.code: int = NoError.errno
        self.takes = 0.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)

    async def send(self, _: object) -> Any:
        self.now += self.takes
        return SimpleNamespace(error_code=self.code)


@pytest.fixture
def coordinator(monkeypatch: pytest.MonkeyPatch) -> Coordinator:
    return Coordinator(monkeypatch)


@pytest.fixture
def thread() -> MemberThread:
    return MemberThread.__new__(MemberThread)


@pytest.mark.parametrize("request_", [HEARTBEAT, SYNC], ids=["heartbeat", "sync"])
async def test_an_answer_counts_from_its_request(request_: Any, coordinator: Coordinator, thread: MemberThread) -> None:
    coordinator.takes = 17.0
    await thread.noted(coordinator.send)(request_)
    assert thread.heard_at == 1_000.0


async def test_who_is_told_of_a_rebalance_is_still_a_member(coordinator: Coordinator, thread: MemberThread) -> None:
    coordinator.code = RebalanceInProgressError.errno
    await thread.noted(coordinator.send)(HEARTBEAT)
    assert thread.heard_at == 1_000.0


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        pytest.param(HEARTBEAT, UnknownMemberIdError.errno, id="given up"),
        pytest.param(SYNC, RebalanceInProgressError.errno, id="synced too late"),
        pytest.param(JOIN, NoError.errno, id="not assigned yet"),
    ],
)
async def test_nothing_else_is_a_proof(
    request_: Any, code: int, coordinator: Coordinator, thread: MemberThread
) -> None:
    coordinator.code = code
    await thread.noted(coordinator.send)(request_)
    assert thread.heard_at == 0.0


async def test_an_assignment_that_lay_here_through_a_freeze_renews_nothing(
    coordinator: Coordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    assigned: list[tuple[set[int], str]] = []

    async def of_faust(*_: object) -> None:
        """What Faust does with an assignment."""

    monkeypatch.setattr("faust.transport.drivers.aiokafka.Consumer.on_partitions_assigned", of_faust)
    consumer = LaneConsumer.__new__(LaneConsumer)
    thread = SimpleNamespace(heard_at=0.0, member_id="member")
    consumer._thread = thread  # type: ignore[assignment]
    consumer._assignments, consumer._expected = 0, {}
    partitions = SimpleNamespace(assigned=lambda _, numbers, member: assigned.append((numbers, member)))
    consumer.app = SimpleNamespace(  # type: ignore[assignment]
        lane=Lane("email", Priority.LOW), session_timeout=6.0, partitions=partitions, member_id="member"
    )
    await MemberThread.noted(thread, coordinator.send)(SYNC)  # type: ignore[arg-type]
    coordinator.now += 17.0
    await consumer.on_partitions_assigned({TP("lane", 3)})
    assert assigned == [({3}, "member")]
    assert not consumer.lease_holds
    await MemberThread.noted(thread, coordinator.send)(HEARTBEAT)  # type: ignore[arg-type]
    assert consumer.lease_holds
