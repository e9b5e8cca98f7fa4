"""A worker that its group gave up, and that gets its partitions back, does not run again what it had just finished."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from schemas.settings import Settings
from tests.support.waiting import eventually
from tests.support.workers import outcomes, running_worker, submit

TYPE = "test.ledger"


@pytest.mark.long
async def test_what_ends_as_it_wakes_counts(settings: Settings, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    with running_worker(settings, tmp_path / "worker.log", TYPE) as worker:
        await worker.ready()
        ids = submit(settings, TYPE, [{"path": str(ledger), "seconds": 4}] * 6)
        await eventually(lambda: ledger.exists() and ledger.read_text().count("start") == 6, within=30)
        os.killpg(worker.process.pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(settings.worker.session_timeout + 3)
        finally:
            os.killpg(worker.process.pid, signal.SIGCONT)
        found = await outcomes(settings, TYPE, 6, within=60)
        assert "the group had given this worker up" in worker.log.read_text()
    assert set(found) == set(ids)
    assert ledger.read_text().count("start") == 6
