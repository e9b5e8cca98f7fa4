"""SIGKILL in the middle of 1,000 tasks: all succeed, and none whose outcome was durable starts again."""

from collections import Counter
from pathlib import Path

import pytest

from schemas import codec
from schemas.outcome import Outcome
from schemas.settings import Settings
from schemas.status import State
from tests.support.waiting import eventually
from tests.support.workers import outcome_records, outcomes, running_worker, submit

TASKS = 1_000


@pytest.mark.long
async def test_all_succeed_and_no_finished_one_runs_again(settings: Settings, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    with running_worker(settings, tmp_path / "first.log", "test.ledger") as first:
        await first.ready()
        ids = submit(settings, "test.ledger", [{"path": str(ledger), "seconds": 0.05}] * TASKS)
        await eventually(lambda: ledger.exists() and ledger.read_text().count("end") > TASKS // 3, within=60)
        first.kill()
    durable = {codec.decode(record.value, Outcome).id for record in outcome_records(settings, "test.ledger")}
    lines = ledger.read_text().splitlines()
    started_before = Counter(line.split()[1] for line in lines if line.startswith("start"))
    assert 0 < len(durable) < TASKS
    with running_worker(settings, tmp_path / "second.log", "test.ledger"):
        found = await outcomes(settings, "test.ledger", TASKS, within=90)
    assert set(found) == set(ids)
    assert {outcome.state for outcome in found.values()} == {State.SUCCEEDED}
    starts = Counter(line.split()[1] for line in ledger.read_text().splitlines() if line.startswith("start"))
    again = {task_id for task_id, count in starts.items() if count > started_before.get(task_id, 0) > 0}
    assert not again & durable
    assert len(again) <= settings.worker.concurrency + len(started_before) - len(durable)
