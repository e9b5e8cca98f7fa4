"""A worker process that is SIGKILLed comes back by itself under its name, and finishes the tasks; metrics say so."""

import os
import re
import signal
from pathlib import Path

import httpx
import pytest

from schemas.settings import Settings
from schemas.status import State
from tests.support.api import free_port
from tests.support.fleets import says, stands_back, worker_processes
from tests.support.processes import is_alive
from tests.support.waiting import eventually
from tests.support.workers import outcomes, running_worker, submit

pytestmark = pytest.mark.timeout(120)

TASKS = 200


async def test_it_finishes_the_tasks(settings: Settings, tmp_path: Path) -> None:
    port = free_port()
    settings = settings.model_copy(update={"worker": settings.worker.model_copy(update={"metrics_port": port})})
    ledger = tmp_path / "ledger"
    with running_worker(settings, tmp_path / "worker.log", "test.ledger") as worker:
        await worker.ready()
        (first,) = worker_processes(worker)
        assert stands_back(first) == 1
        ids = submit(settings, "test.ledger", [{"path": str(ledger), "seconds": 0.05}] * TASKS)
        await eventually(lambda: ledger.exists() and ledger.read_text().count("end") > TASKS // 2, within=60)
        os.kill(first, signal.SIGKILL)
        await says(worker.log, "worker died", "reason=SIGKILL", "code=-9")
        await says(worker.log, "worker ready", times=2)
        found = await outcomes(settings, "test.ledger", TASKS, within=60)
        assert set(found) == set(ids)
        assert {outcome.state for outcome in found.values()} == {State.SUCCEEDED}
        assert {outcome.attempt for outcome in found.values()} == {1}
        # One name for the place, and the process id of whoever held it.
        (name,) = {(outcome.worker or "").rpartition("-")[0] for outcome in found.values()}
        assert {(outcome.worker or "").rpartition("-")[2] for outcome in found.values()} >= {str(first)}
        async with httpx.AsyncClient(trust_env=False) as client:

            async def told() -> bool:
                text = (await client.get(f"http://127.0.0.1:{port}/metrics")).text
                assert f'laneway_worker_restarts_total{{reason="SIGKILL",worker="{name}"}} 1.0' in text, text
                assert f'laneway_worker_up{{worker="{name}"}} 1.0' in text, text
                # What ran at the kill may have ended without being counted; what both have counted before is there.
                ended = re.search(
                    r'^laneway_tasks_ended_total{outcome="succeeded",priority="normal",[^}]*} (\S+)', text, re.MULTILINE
                )
                assert ended is not None
                assert TASKS - 40 <= float(ended[1]) <= TASKS, text
                return True

            await eventually(told, within=10)
        (second,) = worker_processes(worker)
        assert stands_back(second)
        assert worker.stop() == 0
    assert not is_alive(first)
    assert not is_alive(second)
