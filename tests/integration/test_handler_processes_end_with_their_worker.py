"""A handler process that is busy ends with its worker, even one that was SIGKILLed."""

import os
import signal
from pathlib import Path

import pytest

from schemas.settings import Settings
from tests.support.fleets import worker_processes
from tests.support.processes import is_alive
from tests.support.stacks import descendants
from tests.support.waiting import eventually
from tests.support.workers import running_worker, submit

pytestmark = [pytest.mark.long, pytest.mark.timeout(120)]


async def test_it_is_gone_before_its_task_runs_again(settings: Settings, tmp_path: Path) -> None:
    with running_worker(settings, tmp_path / "worker.log", "test.busy") as worker:
        await worker.ready()
        (process,) = worker_processes(worker)
        ledger = tmp_path / "ledger"
        submit(settings, "test.busy", [{"path": str(ledger)}])
        await eventually(lambda: ledger.exists() and ledger.read_text().count("start") == 1, within=30)
        handlers = [pid for pid, command in descendants(process).items() if "spawn_main" in command]
        assert handlers
        os.kill(process, signal.SIGKILL)
        await eventually(lambda: not any(is_alive(pid) for pid in handlers), within=5)
