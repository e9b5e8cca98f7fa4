"""A stop waits for what runs, but not for ever: what is cut off is run by the next worker."""

from pathlib import Path

import pytest

from schemas.settings import Settings
from schemas.status import State
from tests.support.waiting import eventually
from tests.support.workers import outcomes, running_worker, submit

pytestmark = pytest.mark.long


async def test_the_next_worker_runs_it(settings: Settings, tmp_path: Path) -> None:
    impatient = settings.model_copy(
        update={"worker": settings.worker.model_copy(update={"drain_timeout": 0.5, "concurrency": 4})}
    )
    ledger = tmp_path / "ledger"
    with running_worker(impatient, tmp_path / "first.log", "test.ledger") as first:
        await first.ready()
        (quick,) = submit(settings, "test.ledger", [{"path": str(ledger), "seconds": 0.2}])
        (slow,) = submit(settings, "test.ledger", [{"path": str(ledger), "seconds": 4}])
        await eventually(lambda: ledger.exists() and f"start {slow}" in ledger.read_text(), within=30)
        assert first.stop() == 0
    with running_worker(settings, tmp_path / "second.log", "test.ledger"):
        found = await outcomes(settings, "test.ledger", 2)
    assert {found[task_id].state for task_id in (quick, slow)} == {State.SUCCEEDED}
    assert ledger.read_text().count(f"start {slow}") == 2
    assert ledger.read_text().count(f"start {quick}") == 1
