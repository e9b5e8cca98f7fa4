"""Where there are fewer places to run than slots, ``high`` does not wait behind what was given a slot before it."""

from pathlib import Path

import pytest

from schemas.settings import Settings, WorkerSettings
from schemas.task import Priority
from tests.support.waiting import eventually
from tests.support.workers import running_worker, submit


def started(ledger: Path) -> list[str]:
    return [line.split()[1] for line in ledger.read_text("utf-8").splitlines()] if ledger.exists() else []


@pytest.mark.parametrize("type_name", ["test.busy", "test.idle"])
async def test_one_place_is_for_high_alone(settings: Settings, tmp_path: Path, type_name: str) -> None:
    ledger = tmp_path / "ledger"
    worker_settings = WorkerSettings(processes=1, threads=1, concurrency=16, drain_timeout=0.0)
    small = settings.model_copy(update={"worker": worker_settings})
    with running_worker(small, tmp_path / "worker.log", type_name) as worker:
        await worker.ready()
        low = submit(small, type_name, [{"path": str(ledger)}] * 4, priority=Priority.LOW)
        await eventually(lambda: started(ledger), within=20)
        high = submit(small, type_name, [{"path": str(ledger)}] * 2, priority=Priority.HIGH)
        await eventually(lambda: len(started(ledger)) >= 2, within=20)
        first, second = started(ledger)
        assert first in low
        assert second in high
        worker.kill()
