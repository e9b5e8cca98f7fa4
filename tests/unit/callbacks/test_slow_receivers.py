"""A receiver that has timed out is asked one at a time until it answers, or long enough has passed."""

import pytest

from schemas.errors import RetryLater
from streams.handlers.slow_receivers import REMEMBERED_FOR, SlowReceivers


class Time:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def _times_out(receivers: SlowReceivers, receiver: str) -> None:
    with pytest.raises(TimeoutError), receivers.turn(receiver, may_wait=True):
        raise TimeoutError


def test_one_that_answers_is_asked_by_any_number() -> None:
    receivers = SlowReceivers()
    with receivers.turn("a", may_wait=True), receivers.turn("a", may_wait=True):
        pass


def test_one_that_timed_out_is_asked_one_at_a_time_and_others_are_not() -> None:
    time = Time()
    receivers = SlowReceivers(time)
    _times_out(receivers, "a")
    with receivers.turn("a", may_wait=True):
        with pytest.raises(RetryLater, match="one at a time") as later, receivers.turn("a", may_wait=True):
            raise AssertionError
        assert 30 <= later.value.delay.total_seconds() <= 120
        with receivers.turn("b", may_wait=True), receivers.turn("b", may_wait=True):
            pass
        with receivers.turn("a", may_wait=False):  # too old to be put off
            pass


def test_an_answer_or_a_minute_frees_it() -> None:
    time = Time()
    receivers = SlowReceivers(time)
    _times_out(receivers, "a")
    with receivers.turn("a", may_wait=True):
        pass
    with receivers.turn("a", may_wait=True), receivers.turn("a", may_wait=True):
        pass
    _times_out(receivers, "a")
    time.now += REMEMBERED_FOR
    with receivers.turn("a", may_wait=True), receivers.turn("a", may_wait=True):
        pass
    assert not receivers._asked


def test_what_went_wrong_otherwise_says_nothing_of_its_pace() -> None:
    receivers = SlowReceivers()
    with pytest.raises(ValueError, match="x"), receivers.turn("a", may_wait=True):
        raise ValueError("x")
    with receivers.turn("a", may_wait=True), receivers.turn("a", may_wait=True):
        pass
