"""A job's state follows from what was asked, planned and told of it."""

from datetime import UTC, datetime

import pytest

from ingest.replay.book import ReplayBook
from schemas.codec import encode
from schemas.errors import UndecodableRecordError
from schemas.replay import (
    ASKED,
    PLAN,
    RUN,
    Replay,
    ReplayAsked,
    ReplayPlan,
    ReplayRun,
    ReplayState,
    Selection,
    SourceRange,
    Wish,
    replay_key,
)

NOW = datetime.now(UTC)


def replay(name: str = "a", *, dry_run: bool = False) -> Replay:
    return Replay(id=name, select=Selection(key="k"), dry_run=dry_run, created_at=NOW)


def plan() -> ReplayPlan:
    return ReplayPlan(
        sources=[SourceRange(topic="t", partition=0, first=10, end=110)],
        records=100,
        selected=40,
        types={},
        states={},
        errors={},
        passed_over={},
        samples=[],
        seconds=1.0,
        planned_at=NOW,
        planned_in=0.1,
    )


def run(state: ReplayState, records: int = 25, seconds: float = 5.0) -> ReplayRun:
    return ReplayRun(state=state, records=records, seconds=seconds, started_at=NOW, updated_at=NOW)


def book(*parts: tuple[str | None, object], name: str = "a") -> ReplayBook:
    found = ReplayBook()
    for part, value in parts:
        found.apply(replay_key(name, part), encode(value))
    return found


def asked(wish: Wish) -> tuple[str, ReplayAsked]:
    return ASKED, ReplayAsked(wish=wish, at=NOW)


RUNS = (None, replay())
DRY = (None, replay(dry_run=True))
PLANNED = (PLAN, plan())


@pytest.mark.parametrize(
    ("parts", "state", "to_plan", "to_run"),
    [
        ([RUNS], "planned", True, False),
        ([DRY], "planned", True, False),
        ([DRY, PLANNED], "planned", False, False),
        ([DRY, PLANNED, asked(Wish.RUN)], "planned", False, True),
        ([RUNS, PLANNED], "planned", False, True),
        ([RUNS, PLANNED, asked(Wish.ABORT)], "aborted", False, False),
        ([RUNS, asked(Wish.ABORT)], "aborted", False, False),
        ([RUNS, PLANNED, asked(Wish.PAUSE)], "paused", False, False),
        ([RUNS, PLANNED, (RUN, run(ReplayState.RUNNING))], "running", False, True),
        # Whoever runs it has to say that it rests: until then it may still append.
        ([RUNS, PLANNED, (RUN, run(ReplayState.RUNNING)), asked(Wish.ABORT)], "running", False, True),
        ([RUNS, PLANNED, (RUN, run(ReplayState.RUNNING)), asked(Wish.PAUSE)], "running", False, True),
        ([RUNS, PLANNED, (RUN, run(ReplayState.PAUSED)), asked(Wish.PAUSE)], "paused", False, False),
        ([RUNS, PLANNED, (RUN, run(ReplayState.PAUSED)), asked(Wish.ABORT)], "aborted", False, False),
        ([RUNS, PLANNED, (RUN, run(ReplayState.PAUSED)), asked(Wish.RUN)], "paused", False, True),
        ([RUNS, PLANNED, (RUN, run(ReplayState.DONE)), asked(Wish.ABORT)], "done", False, False),
        ([RUNS, asked(Wish.ABORT), asked(Wish.RUN), PLANNED], "aborted", False, False),
    ],
)
def test_state_and_what_is_to_be_done(
    parts: list[tuple[str | None, object]], state: str, to_plan: bool, to_run: bool
) -> None:
    job = book(*parts).jobs["a"]
    assert (job.state.value, job.to_plan, job.to_run) == (state, to_plan, to_run)


def test_one_that_has_begun_goes_before_those_that_wait_and_they_say_so() -> None:
    found = book(RUNS, PLANNED)
    for part, value in ((None, replay("b")), PLANNED, (RUN, run(ReplayState.RUNNING))):
        found.apply(replay_key("b", part), encode(value))
    assert found.current is found.jobs["b"]
    waiting = found.told(found.jobs["a"])
    assert waiting is not None
    assert waiting.reason == "waits for replay b"


def test_progress_and_estimate_come_from_the_records_read() -> None:
    view = book(RUNS, PLANNED, (RUN, run(ReplayState.RUNNING))).jobs["a"].view()
    assert view is not None
    assert (view.percent, view.seconds_left, view.counts.selected) == (25.0, 15.0, 40)


@pytest.mark.parametrize(
    ("key", "value"), [(b"a/what", b"{}"), (None, b"{}"), (b"\xff", b"{}"), (b"/run", b"{}"), (b"a/run", b"{")]
)
def test_what_is_no_record_of_ours_is_refused(key: bytes | None, value: bytes) -> None:
    with pytest.raises(UndecodableRecordError):
        ReplayBook().apply(key, value)
