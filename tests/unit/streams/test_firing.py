"""Which times a schedule fires for: what was missed, what overlaps, what its clock shows."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from laneway.schedules import firing_id
from schemas import codec
from schemas.headers import MAY_REPEAT
from schemas.schedule import Missed, Overlap, PassedOver, ScheduleDone, ScheduleProgress
from schemas.status import State, Status
from schemas.task import Task
from schemas.topics import Topics
from streams.firing import MOST_AT_ONCE, FiringRecords, due
from tests.support.schedules import entry_of, schedule_of

T0 = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def fired(now: datetime, *, last: datetime | None = None, **fields: Any) -> tuple[list[datetime], PassedOver | None]:
    progress = ScheduleProgress(last=last) if last else None
    found = due(entry_of(schedule_of(defined_at=T0, **fields), progress=progress), now)
    if found is None:
        return [], None
    assert found.progress.last >= max([*found.times, *([found.passed_over.until] if found.passed_over else [])])
    return found.times, found.passed_over


def over(since: datetime, until: datetime, why: str) -> PassedOver:
    return PassedOver(since=since, until=until, why=why)


def test_a_new_schedule_starts_at_its_own_time_never_before() -> None:
    for missed in Missed:
        assert fired(T0 + 0.9 * SECOND, missed=missed) == ([], None)
        assert fired(T0 + SECOND, missed=missed) == ([T0 + SECOND], None)


def test_a_changed_schedule_starts_at_the_time_of_the_change() -> None:
    assert fired(T0 + SECOND, last=T0 - 100 * SECOND, missed=Missed.ALL) == ([T0 + SECOND], None)


def test_what_is_handled_is_not_handled_again() -> None:
    assert fired(T0 + 5 * SECOND, last=T0 + 5 * SECOND, missed=Missed.ALL) == ([], None)


@pytest.mark.parametrize("away", [10, 3_600 * 24 * 30])
def test_of_missed_times_one_makes_the_latest(away: int) -> None:
    now = T0 + away * SECOND
    assert fired(now + 0.4 * SECOND, missed=Missed.ONE) == (
        [now],
        over(T0 + SECOND, now - SECOND, "missed"),
    )


def test_of_missed_times_all_makes_each_oldest_first() -> None:
    assert fired(T0 + 3.5 * SECOND, missed=Missed.ALL) == ([T0 + n * SECOND for n in (1, 2, 3)], None)


def test_all_goes_on_where_it_stopped() -> None:
    now = T0 + 250 * SECOND
    made: list[datetime] = []
    while times := fired(now, last=made[-1] if made else None, missed=Missed.ALL)[0]:
        assert len(times) <= MOST_AT_ONCE
        made += times
    assert made == [T0 + n * SECOND for n in range(1, 251)]


def test_of_missed_times_skip_makes_none_but_what_is_two_seconds_late() -> None:
    now = T0 + 10 * SECOND
    assert fired(now, missed=Missed.SKIP) == (
        [now - n * SECOND for n in (2, 1, 0)],
        over(T0 + SECOND, now - 3 * SECOND, "missed"),
    )
    assert fired(now + 0.5 * SECOND, cron="0 * * * * *", missed=Missed.SKIP) == ([], None)
    late = T0 + timedelta(minutes=1, seconds=2)
    assert fired(late, cron="* * * * *", missed=Missed.SKIP) == ([T0 + timedelta(minutes=1)], None)
    too_late = late + 0.1 * SECOND
    minute = T0 + timedelta(minutes=1)
    assert fired(too_late, cron="* * * * *", missed=Missed.SKIP) == ([], over(minute, minute, "missed"))


def test_a_paused_schedule_makes_nothing() -> None:
    assert fired(T0 + 10 * SECOND, paused=True, missed=Missed.ALL) == ([], None)


def test_overlap_skip_waits_for_the_end_of_the_task_before() -> None:
    schedule = schedule_of(defined_at=T0, overlap=Overlap.SKIP)
    first, second = T0 + SECOND, T0 + 2 * SECOND
    progress = ScheduleProgress(last=first, fired_at=first, task_id="a")
    running = due(entry_of(schedule, progress=progress), second)
    assert running is not None
    assert running.times == []
    assert running.progress == ScheduleProgress(
        last=second, fired_at=first, task_id="a", passed_over=over(second, second, "overlap")
    )
    done = ScheduleDone(task_id="a", fired_at=first, state=State.EXPIRED, at=second)
    ended = due(entry_of(schedule, progress=running.progress, done=done), second + SECOND)
    assert ended is not None
    assert ended.times == [second + SECOND]
    assert ended.progress.task_id == firing_id("tick", second + SECOND)
    # Of what is made up for at once, all but the first overlap it.
    assert fired(T0 + 4 * SECOND, missed=Missed.ALL, overlap=Overlap.SKIP) == (
        [first],
        over(second, T0 + 4 * SECOND, "overlap"),
    )


def test_the_end_of_an_earlier_task_does_not_end_the_latest() -> None:
    schedule = schedule_of(defined_at=T0, overlap=Overlap.SKIP)
    progress = ScheduleProgress(last=T0 + 5 * SECOND, fired_at=T0 + 5 * SECOND, task_id="b")
    earlier = ScheduleDone(task_id="a", fired_at=T0 + 4 * SECOND, state=State.SUCCEEDED, at=T0 + 6 * SECOND)
    found = due(entry_of(schedule, progress=progress, done=earlier), T0 + 6 * SECOND)
    assert found is not None
    assert found.times == []


def test_times_are_those_of_the_zone() -> None:
    at = datetime(2026, 11, 25, 3, 30, tzinfo=UTC)
    kolkata: dict[str, Any] = {"cron": "0 9 * * *", "timezone": "Asia/Kolkata"}
    assert fired(at - SECOND, **kolkata) == ([], None)
    assert fired(at, **kolkata) == ([at], None)


def test_the_records_of_a_firing_ask_for_a_task_that_is_looked_up() -> None:
    at, now = T0 + SECOND, T0 + 1.2 * SECOND
    schedule = schedule_of(defined_at=T0, payload={"n": 1}, max_attempts=7)
    task, status, event = FiringRecords(Topics(), 4, "w").task(schedule, at, now)
    made = codec.decode(task.value, Task)
    assert (made.id, made.run_at, made.schedule) == (firing_id("tick", at), at, "tick")
    assert MAY_REPEAT in task.headers
    told = codec.decode(status.value, Status)
    assert (told.state, told.max_attempts, told.id) == (State.QUEUED, 7, made.id)
    assert {task.partition, status.partition, event.partition} == {task.partition}
    assert task.topic == "laneway.tasks.test.echo.normal"


def test_the_id_is_made_of_name_and_time_alone() -> None:
    berlin = (T0 + SECOND).astimezone()
    assert firing_id("tick", T0 + SECOND) == firing_id("tick", berlin)
    assert len({firing_id("tick", T0), firing_id("tick", T0 + SECOND), firing_id("tock", T0)}) == 3
