"""A throttled job keeps its rate, and what was lost to a delay is not followed by a burst."""

import pytest

from ingest.replay.pacing import Pace


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("rate", [1.0, 7.0, 500.0, 20_000.0])
def test_the_rate_is_kept(rate: float) -> None:
    clock = Clock()
    pace = Pace(rate, clock)
    count = pace.chunk(500)
    taken = 0
    while clock.now < 100:
        clock.now += pace.take(count)
        taken += count
    assert taken / clock.now == pytest.approx(rate, rel=0.03)


def test_a_delay_is_made_up_for_by_half_a_second_at_most() -> None:
    clock = Clock()
    pace = Pace(100.0, clock)
    clock.now = 60.0
    burst = 0
    while pace.take(1) == 0.0:
        burst += 1
    assert 49 <= burst <= 52


def test_without_a_bound_nothing_waits() -> None:
    pace = Pace(0.0)
    assert pace.chunk(500) == 500
    assert pace.take(10_000) == 0.0
