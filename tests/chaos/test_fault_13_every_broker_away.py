"""Every broker is away, killed or frozen: workers live on, nothing is lost, all goes on within 30 s of their return."""

import asyncio
from pathlib import Path
from typing import Literal

import pytest

from tests.support.chaos.cluster import StruckCluster
from tests.support.chaos.trial import running_trial
from tests.support.waiting import eventually

RECOVERED_WITHIN = 30.0


@pytest.mark.long
@pytest.mark.parametrize(("how", "seconds"), [("killed", 40.0), ("frozen", 100.0)])
async def test_workers_live_and_go_on(
    three_brokers: StruckCluster, tmp_path: Path, how: Literal["killed", "frozen"], seconds: float
) -> None:
    with running_trial(three_brokers, tmp_path / "trial") as trial:
        worker = await trial.worker()
        children = worker.tree()
        trial.submit(200, seconds=0.5)
        await eventually(lambda: len(trial.runs()) > 20, within=20)
        strike = three_brokers.killed if how == "killed" else three_brokers.frozen
        struck = strike(trial.faults, 1, 2, 3)
        await asyncio.to_thread(struck.__enter__)
        await asyncio.sleep(seconds)
        await asyncio.to_thread(struck.__exit__, None, None, None)
        before = len(trial.runs())
        assert trial.open_tasks(), "all was finished before the fault could matter"
        await eventually(lambda: len(trial.runs()) > before, within=RECOVERED_WITHIN, what="a start after the return")
        await trial.all_finished(within=120)
        (await trial.verdict()).require_clean()
        assert worker.tree() == children, "a process was started again"


@pytest.mark.long
@pytest.mark.parametrize("how", ["killed", "frozen"])
async def test_a_worker_is_stopped_meanwhile(
    one_broker: StruckCluster, tmp_path: Path, how: Literal["killed", "frozen"]
) -> None:
    with running_trial(one_broker, tmp_path / "trial") as trial:
        worker = await trial.worker()
        trial.submit(20, seconds=1.0)
        await eventually(lambda: len(trial.runs()) >= 10, within=20)
        strike = one_broker.killed if how == "killed" else one_broker.frozen
        struck = strike(trial.faults, 1)
        await asyncio.to_thread(struck.__enter__)
        try:
            await asyncio.sleep(5)
            await asyncio.to_thread(worker.stop)  # requires exit code 0
        finally:
            await asyncio.to_thread(struck.__exit__, None, None, None)
        await trial.worker()
        await trial.all_finished(within=60)
        (await trial.verdict()).require_clean()
