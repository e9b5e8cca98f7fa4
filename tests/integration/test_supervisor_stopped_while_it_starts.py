"""A worker that is asked to stop before it is up stops in order: it had begun nothing."""

from pathlib import Path

import pytest

from schemas.settings import Settings
from tests.support.fleets import worker_processes
from tests.support.waiting import eventually
from tests.support.workers import running_worker


@pytest.mark.timeout(90)
async def test_it_exits_with_0(settings: Settings, tmp_path: Path) -> None:
    with running_worker(settings, tmp_path / "worker.log", "test.echo") as worker:
        await eventually(lambda: worker_processes(worker), within=30, what="a worker process")
        assert worker.stop() == 0
        assert "worker ready" not in worker.log.read_text()
