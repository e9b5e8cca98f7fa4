"""A main loop that stands still is told with its stack, and its process replaced: by itself, else by its parent."""

import os
import signal
from pathlib import Path

import pytest

from schemas.settings import Settings
from tests.support.fleets import lines_of, says, worker_processes
from tests.support.workers import outcomes, running_worker, submit


@pytest.mark.long
@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("sent", "reason", "culprit"),
    [(signal.SIGUSR1, "stalled", "_stand_still"), (signal.SIGUSR2, "frozen", "_hold_the_interpreter")],
)
async def test_it_works_on(settings: Settings, tmp_path: Path, sent: signal.Signals, reason: str, culprit: str) -> None:
    settings = settings.model_copy(update={"worker": settings.worker.model_copy(update={"stall_timeout": 6.0})})
    with running_worker(settings, tmp_path / "worker.log", "test.echo") as worker:
        await worker.ready()
        (first,) = worker_processes(worker)
        os.kill(first, sent)
        await says(worker.log, "worker died", f"reason={reason}", within=60)
        told = "\n".join(lines_of(worker.log))
        assert culprit in told
        if reason == "stalled":
            assert "the main loop stands still" in told
            assert "code=70" in told
        await says(worker.log, "worker ready", times=2, within=60)
        submit(settings, "test.echo", [{"n": 1}])
        assert len(await outcomes(settings, "test.echo", 1)) == 1
