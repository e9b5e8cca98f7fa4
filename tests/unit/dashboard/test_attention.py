"""What needs attention is said in words: what waits, since when, and why."""

from datetime import UTC, datetime, timedelta
from typing import Any

from ingest.dashboard.attention import concerns
from ingest.dashboard.lanes import LaneLook
from schemas.control import LaneControl
from schemas.task import Lane, Priority
from schemas.worker import TypeSlots
from tests.support.dashboard import worker_of

NOW = datetime(2026, 1, 31, 12, 7, tzinfo=UTC)
LANE = Lane("email", Priority.HIGH)


def look(minutes: float | None, lag: int = 0, running: int = 0, **held: Any) -> LaneLook:
    control = None
    if held:
        control = LaneControl(type="email", priority=Priority.HIGH, paused=True, **held)
    oldest = None if minutes is None else NOW - timedelta(minutes=minutes)
    return LaneLook(LANE, lag, control, oldest, running)


def said(one: LaneLook) -> list[tuple[bool, str]]:
    return [(concern.grave, concern.said) for concern in concerns({}, [one], None, NOW)]


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
    found = concerns({"view": None, "broker": "the broker does not answer"}, [look(4, lag=900, running=1)], None, NOW)
    assert [(concern.subject, concern.grave) for concern in found] == [("Kafka", True), ("email.high", False)]


def test_no_worker_at_all_is_grave_and_says_how_to_start_one() -> None:
    (concern,) = concerns({}, [], [], NOW)
    assert concern.grave
    assert concern.said == "none is alive, so nothing runs. Start one: laneway worker"
    assert concerns({}, [], None, NOW) == [], "as long as it is not known, it is not claimed"
    assert concerns({}, [], [worker_of("w", at=NOW)], NOW) == []


def test_a_stuck_worker_is_grave_and_says_of_what() -> None:
    stuck = worker_of(
        "w",
        at=NOW,
        started_at=NOW - timedelta(hours=1),
        last_end_at=NOW - timedelta(minutes=3),
        stuck=True,
        slots=[TypeSlots(type="data", total=4, busy=1), TypeSlots(type="email", total=2, busy=2)],
    )
    (concern,) = concerns({}, [], [stuck], NOW)
    assert concern.grave
    assert concern.said == "the worker is stuck: every slot of email is busy, and no run has ended for 3 min"
    assert concern.link == "/workers#w"


def test_a_worker_that_fell_silent_is_worth_knowing_while_another_works() -> None:
    silent = worker_of("a", at=NOW - timedelta(seconds=40), alive=False)
    (concern,) = concerns({}, [], [silent, worker_of("b", at=NOW)], NOW)
    assert (concern.grave, concern.said) == (False, "nothing was heard of this worker for 40 s")
