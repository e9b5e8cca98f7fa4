"""A schedule waits for the task before where it says so, and whatever else lies on the topic stops no other one."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from schemas import codec
from schemas.schedule import Missed, Overlap, ScheduleDone, ScheduleProgress
from schemas.settings import Settings
from schemas.status import State
from tests.support.fleets import says
from tests.support.schedules import define, latest, put, schedule_of
from tests.support.waiting import eventually
from tests.support.workers import outcomes, running_worker

pytestmark = pytest.mark.timeout(200)


async def test_overlap_skip_passes_over_until_the_task_has_ended(settings: Settings, tmp_path: Path) -> None:
    ledger, gate = tmp_path / "ledger", tmp_path / "gate"
    payload = {"path": str(ledger), "until": str(gate)}
    with running_worker(settings, tmp_path / "worker.log", "test.ledger") as worker:
        await worker.ready()
        define(settings, schedule_of(type="test.ledger", payload=payload, overlap=Overlap.SKIP, missed=Missed.ALL))
        assert await eventually(lambda: _why_passed_over(settings), within=30) == "overlap"
        await says(worker.log, "schedule passed over", "overlap", times=3)
        assert ledger.read_text().count("start") == 1
        gate.touch()
        await outcomes(settings, "test.ledger", 3)
        put(settings, "tick", None)
    done = codec.decode(latest(settings, "tick", "done"), ScheduleDone)
    assert done.state is State.SUCCEEDED
    lines = [line.split()[0] for line in ledger.read_text().splitlines()]
    assert lines[:6] == ["start", "end"] * 3


def _why_passed_over(settings: Settings) -> str:
    value = latest(settings, "tick", "fired")
    passed_over = codec.decode(value, ScheduleProgress).passed_over if value else None
    return passed_over.why if passed_over is not None else ""


async def test_a_failing_task_ends_a_firing_too(settings: Settings, tmp_path: Path) -> None:
    with running_worker(settings, tmp_path / "worker.log", "test.failing") as worker:
        await worker.ready()
        define(settings, schedule_of(type="test.failing", overlap=Overlap.SKIP))
        await outcomes(settings, "test.failing", 2)
        put(settings, "tick", None)


async def test_garbage_and_a_type_without_a_topic_stop_no_other_schedule(settings: Settings, tmp_path: Path) -> None:
    with running_worker(settings, tmp_path / "worker.log", "test.echo") as worker:
        await worker.ready()
        for name in ("a", "b", "c", "tick"):
            put(settings, name, b"\xff\x00")
            put(settings, name, b"{}", "fired")
            put(settings, name, b"{", "done")
            put(settings, name, b"{}", "unheard-of")
        define(settings, *(schedule_of(name, type="nobody.knows") for name in ("a", "b", "c")))
        await says(worker.log, "its type has no topic", times=3)
        began = datetime.now(UTC)
        define(settings, schedule_of(defined_at=began))
        found = await outcomes(settings, "test.echo", 3)
        assert {outcome.state for outcome in found.values()} == {State.SUCCEEDED}
        await says(worker.log, "unreadable record of a schedule skipped", times=16)
        assert "Traceback" not in worker.log.read_text()
        assert worker.stop() == 0


async def test_an_older_progress_behind_a_newer_one_is_mended(settings: Settings, tmp_path: Path) -> None:
    with running_worker(settings, tmp_path / "worker.log", "test.echo") as worker:
        await worker.ready()
        at = datetime.now(UTC)
        define(settings, schedule_of(cron="0 0 1 1 *", defined_at=at))
        newer = ScheduleProgress(last=at, fired_at=at, task_id="b")
        older = ScheduleProgress(last=at.replace(year=2020), fired_at=at.replace(year=2020), task_id="a")
        for progress in (newer, older):
            put(settings, "tick", codec.encode(progress), "fired")
        await eventually(lambda: latest(settings, "tick", "fired") == codec.encode(newer), within=30)
