"""A coordinator that is still loading is asked again: it never passes for one that knows of no commit."""

from typing import Any

import pytest
from aiokafka.errors import GroupAuthorizationFailedError
from aiokafka.protocol.admin import DescribeGroupsResponse_v2
from aiokafka.protocol.commit import OffsetFetchResponse_v1, OffsetFetchResponse_v3

from streams import group

LOADING, ELSEWHERE, REFUSED = 14, 16, 30


class Coordinator:
    """Stands for aiokafka's: gives these answers, one after the other."""

    group_id = "lane"

    def __init__(self, *answers: object) -> None:
        self.answers = list(answers)
        self.given_up = 0

    async def ensure_coordinator_known(self) -> None:
        """It is."""

    async def _send_req(self, _: object) -> object:
        return self.answers.pop(0)

    def coordinator_dead(self) -> None:
        self.given_up += 1


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group, "_ASK_AGAIN_AFTER", 0.0)


def told(*partitions: tuple[int, int], error: int = 0) -> Any:
    return OffsetFetchResponse_v3(0, [("lane", [(number, offset, "", 0) for number, offset in partitions])], error)


async def test_what_is_loading_is_asked_again() -> None:
    coordinator: Any = Coordinator(OffsetFetchResponse_v3(0, [], LOADING), told((0, 58), (1, -1)))
    found = await group.commits(coordinator, "lane", [0, 1])
    assert {number: commit.offset for number, commit in found.items()} == {0: 58}
    assert coordinator.answers == []


async def test_an_older_broker_says_so_of_each_partition() -> None:
    loading = OffsetFetchResponse_v1([("lane", [(0, -1, "", LOADING)])])
    coordinator: Any = Coordinator(loading, OffsetFetchResponse_v1([("lane", [(0, 7, "status@3;", 0)])]))
    assert (await group.commits(coordinator, "lane", [0]))[0].metadata == "status@3;"


async def test_one_that_has_moved_is_looked_for_anew() -> None:
    coordinator: Any = Coordinator(told(error=ELSEWHERE), told((0, 1)))
    await group.commits(coordinator, "lane", [0])
    assert coordinator.given_up == 1


async def test_an_answer_that_leaves_a_partition_out_is_none() -> None:
    coordinator: Any = Coordinator(told((0, 1)), told((0, 1), (1, 2)))
    assert set(await group.commits(coordinator, "lane", [0, 1])) == {0, 1}


async def test_a_refusal_is_told() -> None:
    coordinator: Any = Coordinator(told(error=REFUSED))
    with pytest.raises(GroupAuthorizationFailedError):
        await group.commits(coordinator, "lane", [0])


async def test_members_are_never_nobody() -> None:
    def described(*clients: str, error: int = 0) -> Any:
        members = [(f"{name}-id", name, "/127.0.0.1", b"", b"") for name in clients]
        return DescribeGroupsResponse_v2(0, [(error, "lane", "Stable", "consumer", "range", members)])

    coordinator: Any = Coordinator(described(error=LOADING), described(), described("one-lane", "two-lane"))
    assert await group.members(coordinator) == {"one-lane-id": "one-lane", "two-lane-id": "two-lane"}
