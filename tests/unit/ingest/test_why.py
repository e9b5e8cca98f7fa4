from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ingest.why import Surroundings, explain
from schemas.control import LaneControl
from schemas.explanation import Reason
from schemas.status import FINAL_STATES, ErrorInfo, State, Status
from schemas.task import Priority

NOW = datetime(2026, 1, 31, tzinfo=UTC)
FAILED = ErrorInfo(type="ValueError", message="no such row", retriable=True)
FREE = Surroundings(None, manned=True, ahead=None)


def status(state: State, **changes: Any) -> Status:
    given = {"max_attempts": 3, "created_at": NOW, "updated_at": NOW, **changes}
    return Status(id="t1", type="echo", priority=Priority.NORMAL, state=state, **given)


def control(*, paused: bool = True, by: str = "api") -> LaneControl:
    return LaneControl(type="echo", priority=Priority.NORMAL, paused=paused, at=NOW, by=by, reason="a bad deploy")


@pytest.mark.parametrize("state", sorted(FINAL_STATES))
def test_a_final_task_tells_how_it_ended(state: State) -> None:
    (only,) = explain(status(state, attempt=3, finished_at=NOW, error=FAILED), None, NOW)
    assert (only.reason, only.since, only.attempt, only.error) == (Reason.ENDED, NOW, 3, FAILED)
    assert only.text == f"it ended {state} after 3 of 3 attempts: ValueError: no such row"


def test_a_running_task_tells_who_runs_it_since_when() -> None:
    (only,) = explain(status(State.RUNNING, attempt=2, started_at=NOW, worker="w-1"), None, NOW)
    assert (only.reason, only.worker, only.since, only.attempt) == (Reason.RUNNING, "w-1", NOW, 2)
    assert only.text == "w-1 runs attempt 2 of 3 since 2026-01-31 00:00:00 UTC"


def test_a_task_that_is_not_due_tells_when_it_is() -> None:
    due = NOW + timedelta(seconds=90)
    (scheduled,) = explain(status(State.SCHEDULED, not_before=due), FREE, NOW)
    assert (scheduled.reason, scheduled.due_at, scheduled.due_in) == (Reason.SCHEDULED, due, 90)
    (retrying,) = explain(status(State.RETRYING, not_before=due, attempt=1, error=FAILED), FREE, NOW)
    assert (retrying.reason, retrying.due_in, retrying.error) == (Reason.RETRYING, 90, FAILED)
    assert retrying.text == "attempt 1 failed (ValueError: no such row); it is due in 90 s again"


def test_a_task_that_has_just_come_due_waits() -> None:
    (only,) = explain(status(State.RETRYING, not_before=NOW, attempt=1), FREE, NOW)
    assert (only.reason, only.since, only.ahead) == (Reason.WAITING, NOW, None)


def test_who_holds_the_lane_tells_an_operator_from_a_budget() -> None:
    held = explain(status(State.QUEUED), Surroundings(control(), manned=True, ahead=4), NOW)
    assert [each.reason for each in held] == [Reason.LANE_PAUSED, Reason.WAITING]
    assert held[0].text == "the lane echo.normal is held by api: a bad deploy"
    assert held[1].ahead == 4
    held = explain(status(State.QUEUED), Surroundings(control(by="w-1"), manned=True, ahead=0), NOW)
    assert [each.reason for each in held] == [Reason.DEAD_LETTER_BUDGET, Reason.WAITING]


def test_an_earlier_task_of_its_key_is_named() -> None:
    began = NOW - timedelta(minutes=1)
    runs = status(State.RUNNING, ordering_key="k", started_at=began, worker="w-1")
    held = explain(status(State.QUEUED, ordering_key="k"), Surroundings(control(), True, 3, runs), NOW)
    assert [each.reason for each in held] == [Reason.LANE_PAUSED, Reason.ORDERING_KEY, Reason.WAITING]
    assert held[1].text == "t1 of its ordering key 'k' runs, since 2026-01-30 23:59:00 UTC"
    assert (held[1].task, held[1].state, held[1].since, held[1].worker) == ("t1", State.RUNNING, began, "w-1")
    waits = status(State.RETRYING, ordering_key="k", started_at=began)
    (kept, _) = explain(status(State.QUEUED, ordering_key="k"), FREE._replace(behind=waits), NOW)
    assert (kept.state, kept.since) == (State.RETRYING, NOW)
    assert "has the turn and waits for its next attempt" in kept.text


def test_a_lane_that_was_freed_holds_nothing() -> None:
    (only,) = explain(status(State.QUEUED), Surroundings(control(paused=False), manned=True, ahead=0), NOW)
    assert only.reason is Reason.WAITING


def test_everything_in_the_way_is_told_most_decisive_first() -> None:
    due = NOW + timedelta(hours=1)
    around = Surroundings(control(), manned=False, ahead=None)
    found = explain(status(State.SCHEDULED, not_before=due), around, NOW)
    assert [each.reason for each in found] == [Reason.SCHEDULED, Reason.LANE_PAUSED, Reason.NO_WORKER]
