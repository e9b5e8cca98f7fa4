"""A lane's rate is what its workers got done with in the last minute, and nothing where that is not known."""

from ingest.pace import Pace
from schemas.task import Lane, Priority

LANE = Lane("email", Priority.HIGH)


def test_it_begins_with_the_second_look() -> None:
    pace = Pace()
    assert pace.rate(LANE, 1_000, 0.0) is None
    assert pace.rate(LANE, 1_050, 5.0) == 10.0
    assert pace.rate(Lane("email", Priority.LOW), 7, 5.0) is None, "another lane, another pace"


def test_it_looks_back_a_minute() -> None:
    pace = Pace()
    for second in range(120):
        pace.rate(LANE, 10 * min(second, 60), float(second))
    assert pace.rate(LANE, 600, 120.0) == 0.0, "nothing in the last minute"


def test_nothing_is_claimed_after_a_time_without_looks() -> None:
    pace = Pace()
    pace.rate(LANE, 0, 0.0)
    assert pace.rate(LANE, 10_000, 3_600.0) is None


def test_many_who_ask_at_once_neither_fill_it_nor_falsify_it() -> None:
    pace = Pace()
    rates = [pace.rate(LANE, step, step / 100) for step in range(10_000)]
    rate = rates[-1]
    assert rate is not None
    assert abs(rate - 100) < 2
    assert len(pace._looks[LANE]) <= 61


def test_a_group_that_was_set_back_begins_anew() -> None:
    pace = Pace()
    pace.rate(LANE, 1_000, 0.0)
    assert pace.rate(LANE, 10, 5.0) is None
    assert pace.rate(LANE, 20, 10.0) == 2.0
