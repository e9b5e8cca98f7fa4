"""A task's events are told as steps: what happened, when, and how long after the step before."""

from datetime import UTC, datetime, timedelta
from typing import Any

from ingest.dashboard.way import steps_of, steps_of_status
from schemas.outcome import Event
from schemas.status import ErrorInfo, Progress, State
from schemas.task import Priority
from tests.support.dashboard import status_of

START = datetime(2026, 1, 31, 12, tzinfo=UTC)
ERROR = ErrorInfo(type="E", message="no", retriable=True)


def event(second: float, state: State, **said: Any) -> Event:
    return Event(id="a", type="t", priority=Priority.NORMAL, state=state, at=START + timedelta(seconds=second), **said)


def test_a_way_with_a_retry_and_progress() -> None:
    steps = steps_of(
        [
            event(0, State.QUEUED),
            event(1, State.RUNNING, attempt=1, worker="w", position="t-0@7"),
            event(2, State.RUNNING, attempt=1, progress=Progress(10.0)),
            event(3, State.RUNNING, attempt=1, progress=Progress(90.0, "nearly")),
            event(4, State.RETRYING, attempt=1, error=ERROR, traceback="Traceback …", not_before=START),
            event(9, State.RUNNING, attempt=2, worker="w"),
            event(10, State.SUCCEEDED, attempt=2),
        ]
    )
    assert [(step.title, step.kind) for step in steps] == [
        ("accepted", "plain"),
        ("attempt 1 started", "plain"),
        ("90 % done: nearly", "plain"),
        ("attempt 1 failed", "bad"),
        ("attempt 2 started", "plain"),
        ("succeeded", "ok"),
    ]
    assert [step.after for step in steps[:2]] == [None, timedelta(seconds=1)]
    assert (steps[1].worker, steps[1].position) == ("w", "t-0@7")
    assert (steps[3].error, steps[3].traceback, steps[3].due) == (ERROR, "Traceback …", START)


def test_a_generation_begins_anew() -> None:
    steps = steps_of([event(0, State.QUEUED), event(1, State.CANCELLED), event(2, State.QUEUED, generation=2)])
    assert [(step.title, step.generation, step.after is None) for step in steps] == [
        ("accepted", 1, True),
        ("cancelled", 1, False),
        ("run again", 2, True),
    ]
    assert steps[-1].kind == "now"


def test_a_status_alone_tells_enough() -> None:
    told = {
        state: [step.title for step in steps_of_status(status_of("a", state=state, attempt=2, errors=(ERROR,)))]
        for state in State
    }
    begin = ["accepted", "attempt 1 failed"]
    assert told == {
        State.QUEUED: begin,
        State.SCHEDULED: [*begin, "waits until it is due"],
        State.RUNNING: [*begin, "attempt 2 runs"],
        State.RETRYING: [*begin, "waits for its next attempt"],
        State.SUCCEEDED: [*begin, "succeeded"],
        State.DEAD_LETTERED: [*begin, "dead-lettered"],
        State.CANCELLED: [*begin, "cancelled"],
        State.EXPIRED: [*begin, "expired"],
    }
