"""What follows from a receiver's answer: done, tried again, asked later, or never again."""

from datetime import UTC, datetime, timedelta

import pytest

from schemas.callback import POLICY
from schemas.errors import CallbackError, Reject, RetryLater
from streams.handlers.callback import judge

NOW = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)


def _judged(status: int, headers: dict[str, str] | None = None, *, patient: bool = True) -> None:
    judge("example.com", status, headers or {}, NOW, patient=patient)


@pytest.mark.parametrize("status", [200, 202, 204, 299])
def test_any_2xx_is_taken(status: int) -> None:
    _judged(status)


@pytest.mark.parametrize("status", [400, 401, 404, 408, 429, 500, 502, 503])
def test_whatever_may_pass_is_tried_again(status: int) -> None:
    with pytest.raises(CallbackError, match=str(status)) as raised:
        _judged(status)
    assert POLICY.retries(raised.value)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308, 410])
def test_gone_and_redirects_are_not(status: int) -> None:
    with pytest.raises(Reject, match=str(status)):
        _judged(status, {"Location": "http://127.0.0.1/"})


@pytest.mark.parametrize("status", [429, 503])
def test_who_asks_to_come_back_later_is_believed_for_a_while(status: int) -> None:
    with pytest.raises(RetryLater) as later:
        _judged(status, {"Retry-After": "7"})
    assert later.value.delay == timedelta(seconds=7)
    with pytest.raises(CallbackError):
        _judged(status, {"Retry-After": "7"}, patient=False)


def test_the_policy_gives_a_receiver_about_a_day() -> None:
    bounds = [
        min(POLICY.max_delay, POLICY.first_delay * POLICY.factor ** (attempt - 1))
        for attempt in range(1, POLICY.max_attempts)
    ]
    assert timedelta(days=1) < sum(bounds, timedelta(0)) < timedelta(days=2)
