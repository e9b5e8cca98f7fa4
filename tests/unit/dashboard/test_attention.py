"""What needs attention is said in words: what waits, since when, and why."""

from datetime import UTC, datetime, timedelta
from typing import Any

from ingest.dashboard.attention import concerns
from ingest.dashboard.lanes import LaneLook
from schemas.control import LaneControl
from schemas.task import Lane, Priority

NOW = datetime(2026, 1, 31, 12, 7, tzinfo=UTC)
LANE = Lane("email", Priority.HIGH)


def look(minutes: float | None, lag: int = 0, running: int = 0, **held: Any) -> LaneLook:
    control = None
    if held:
        control = LaneControl(type="email", priority=Priority.HIGH, paused=True, **held)
    oldest = None if minutes is None else NOW - timedelta(minutes=minutes)
    return LaneLook(LANE, lag, control, oldest, running)


def said(one: LaneLook) -> list[tuple[bool, str]]:
    return [(concern.grave, concern.said) for concern in concerns({}, [one], NOW)]


def test_a_lane_that_flows_is_no_concern() -> None:
    assert said(look(None)) == []
    assert said(look(0.5, lag=3)) == []
    assert said(look(9, lag=0)) == [], "what the view has not seen end yet does not wait"


def test_a_held_lane_says_who_held_it_and_what_waits() -> None:
    at = NOW - timedelta(minutes=4)
    assert said(look(None, at=at, by="api: ada", reason="stocktaking")) == [
        (False, "held since 12:03 UTC by ada: stocktaking")
    ]
    assert said(look(4, lag=12, at=at, by="api")) == [
        (True, "oldest has waited 4 min: the lane is held since 12:03 UTC by api; 12 tasks wait")
    ]


def test_a_lane_that_nobody_works_on_is_grave() -> None:
    ((grave, text),) = said(look(4, lag=1))
    assert grave
    assert text == "oldest has waited 4 min, and nothing of it runs; 1 task waits. Is there a worker for it?"


def test_a_lane_that_lags_is_worth_knowing() -> None:
    assert said(look(4, lag=900, running=16)) == [(False, "oldest has waited 4 min; 900 tasks wait, 16 run")]


def test_what_fails_comes_first() -> None:
    found = concerns({"view": None, "broker": "the broker does not answer"}, [look(4, lag=900, running=1)], NOW)
    assert [(concern.subject, concern.grave) for concern in found] == [("Kafka", True), ("email.high", False)]
