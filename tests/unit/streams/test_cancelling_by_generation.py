"""A cancellation is carried out by the end of the generation that it was asked for, and by no other."""

from datetime import UTC, datetime

from msgspec import Raw

from schemas.control import Cancellation, Cancelled
from schemas.task import Lane, Priority, Task
from streams.cancelling import CalledOff, Cancellations

LANE = Lane("t", Priority.LOW)


def task(generation: int) -> Task:
    return Task(id="a", type="t", payload=Raw(b"{}"), priority=Priority.LOW, generation=generation)


def asked(generation: int) -> CalledOff:
    return CalledOff(
        Cancellation(id="a", type="t", priority=Priority.LOW, generation=generation, at=datetime.now(UTC)), 0
    )


def test_the_end_of_an_earlier_generation_leaves_the_cancellation_of_a_replay_in_force() -> None:
    carried_out: list[tuple[CalledOff, Cancelled | None]] = []
    cancellations = Cancellations(lambda called_off, outcome: carried_out.append((called_off, outcome)))
    second = asked(2)
    cancellations.learn("a", second)
    cancellations.ended(task(1), Cancelled.BEFORE_START)
    assert carried_out == []
    assert cancellations._asked("a", 2) is not None
    cancellations.ended(task(2), Cancelled.BEFORE_START)
    assert carried_out == [(second, Cancelled.BEFORE_START)]


def test_a_replay_is_not_hit_by_the_cancellation_of_what_it_repeats() -> None:
    carried_out: list[tuple[CalledOff, Cancelled | None]] = []
    cancellations = Cancellations(lambda called_off, outcome: carried_out.append((called_off, outcome)))
    cancellations.learn("a", asked(1))
    assert cancellations._asked("a", 2) is None
    cancellations.ended(task(2), None)
    assert carried_out == []
