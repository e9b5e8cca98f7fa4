"""SIGTERM drains every worker process; wrong configuration is exit code 2 with its own words; a kill leaves nothing."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from schemas.settings import Settings, environment_for
from tests.support.fleets import lines_of, says, worker_processes
from tests.support.processes import is_alive
from tests.support.source_tree import ROOT
from tests.support.waiting import eventually
from tests.support.workers import outcomes, running_worker, submit

pytestmark = [pytest.mark.long, pytest.mark.timeout(120)]


def _with_two(settings: Settings) -> Settings:
    return settings.model_copy(update={"worker": settings.worker.model_copy(update={"instances": 2})})


async def test_sigterm_lets_what_runs_come_to_its_end(settings: Settings, tmp_path: Path) -> None:
    with running_worker(_with_two(settings), tmp_path / "worker.log", "test.ledger") as worker:
        await says(worker.log, "worker ready", times=2)
        ledger = tmp_path / "ledger"
        submit(settings, "test.ledger", [{"path": str(ledger), "seconds": 1.5}] * 8)
        await eventually(lambda: ledger.exists() and ledger.read_text().count("start") == 8, within=30)
        assert worker.stop() == 0
    assert ledger.read_text().count("end") == 8
    assert len(await outcomes(settings, "test.ledger", 8)) == 8
    assert sum("worker stopped" in line for line in lines_of(worker.log)) == 2
    assert not any("worker died" in line for line in lines_of(worker.log))


async def test_a_killed_supervisor_leaves_no_worker_process(settings: Settings, tmp_path: Path) -> None:
    with running_worker(_with_two(settings), tmp_path / "worker.log", "test.echo") as worker:
        await says(worker.log, "worker ready", times=2)
        processes = worker_processes(worker)
        assert len(processes) == 2
        os.kill(worker.process.pid, signal.SIGKILL)
        worker.process.wait(10)
        await eventually(lambda: not any(is_alive(pid) for pid in processes), within=15)


async def test_a_killed_process_group_is_gone_at_once(settings: Settings, tmp_path: Path) -> None:
    with running_worker(_with_two(settings), tmp_path / "worker.log", "test.echo") as worker:
        await says(worker.log, "worker ready", times=2)
        processes = worker_processes(worker)
        worker.kill()
        await eventually(lambda: not any(is_alive(pid) for pid in processes), within=1)


def test_an_unknown_type_is_told_once_with_exit_code_2(settings: Settings) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "laneway.cli", "worker", "--types", "no.such"],
        cwd=ROOT,
        env=environment_for(settings),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr.startswith("laneway: --types: saw 'no.such', want some of ")
    assert ended.stderr.count("\n") == 1
