"""Brokers are restarted in order, one after the other: no worker ends, nothing is lost."""

import asyncio
from pathlib import Path
from random import Random

import pytest

from tests.chaos.load import Load
from tests.support.chaos.cluster import StruckCluster
from tests.support.chaos.trial import running_trial


@pytest.mark.long
async def test_workers_stay_and_nothing_is_lost(three_brokers: StruckCluster, tmp_path: Path) -> None:
    with running_trial(three_brokers, tmp_path / "trial", with_api=True) as trial:
        api, worker = await trial.api(), await trial.worker()
        children = worker.tree()
        load = Load(trial, api.address, Random(11), rate=25, keys=0)
        producing = asyncio.create_task(load.run())
        for number in (1, 2, 3):
            stopped = three_brokers.stopped(trial.faults, number)
            await asyncio.to_thread(stopped.__enter__)
            await asyncio.to_thread(stopped.__exit__, None, None, None)
            await asyncio.sleep(3)
        load.stop()
        await producing
        await trial.all_finished(within=60)
        verdict = await trial.verdict()
        verdict.require_clean()
        assert verdict.counts["started_again"] == 0
        assert worker.tree() == children, "a process was started again"
        assert api.running
