"""The tasks of a key have it one after the other, in the order in which they came; other keys do not wait."""

from collections.abc import Sequence
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from schemas.task import Lane, Priority, Task
from streams import turns
from streams.work import Partition, Source, Work


def works(partition: Partition, keys: Sequence[str]) -> list[Work]:
    return [
        Work(
            Source(partition, cast("Any", None)),
            Task(id=str(number), type="t", payload=cast("Any", b"{}"), ordering_key=key),
            cast("Any", None),
            cast("Any", None),
        )
        for number, key in enumerate(keys)
    ]


@given(st.lists(st.sampled_from("abc"), max_size=40), st.randoms(use_true_random=False))
def test_one_at_a_time_in_order(keys: list[str], random: Any) -> None:
    partition = Partition(Lane("t", Priority.NORMAL), 0)
    came = works(partition, keys)
    running = [work for work in came if turns.enter(work)]
    ran: list[Work] = []
    while running:
        assert len({work.task.ordering_key for work in running}) == len(running)
        ended = running.pop(random.randrange(len(running)))
        ran.append(ended)
        following = turns.leave(ended)
        if following is not None:
            running.append(following)
    for key in "abc":
        assert [work for work in ran if work.task.ordering_key == key] == [
            work for work in came if work.task.ordering_key == key
        ]
    assert not partition.keys
    assert partition.queued_by_key == 0


def test_who_leaves_a_key_that_nobody_has_calls_nobody() -> None:
    (work,) = works(Partition(Lane("t", Priority.NORMAL), 0), "a")
    assert turns.leave(work) is None
