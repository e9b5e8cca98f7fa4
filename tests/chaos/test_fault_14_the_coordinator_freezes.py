"""The broker that coordinates a lane's group freezes for 20 s: nothing is lost, and the stall ends 10 s after it."""

import asyncio
from pathlib import Path

import pytest

from schemas.task import Lane, Priority
from tests.support.chaos.cluster import StruckCluster
from tests.support.chaos.handlers import WORK
from tests.support.chaos.trial import running_trial

FROZEN = 20.0
RECOVERED_WITHIN = 10.0


@pytest.mark.long
async def test_the_stall_is_bounded(three_brokers: StruckCluster, tmp_path: Path) -> None:
    with running_trial(three_brokers, tmp_path / "trial") as trial:
        worker = await trial.worker()
        trial.submit(1)
        await trial.all_finished(within=20)
        coordinator = three_brokers.coordinator(trial.topics.group(Lane(WORK, Priority.NORMAL)))
        with three_brokers.frozen(trial.faults, coordinator):
            ids = await trial.trickle(FROZEN, every=0.5)
        ids += await trial.trickle(5)
        await trial.all_finished(within=trial.settings.worker.session_timeout + RECOVERED_WITHIN)
        (await trial.verdict()).require_clean()
        assert worker.running
        assert max(trial.waits(ids)) < FROZEN + trial.settings.worker.session_timeout + RECOVERED_WITHIN
        await asyncio.to_thread(worker.stop)
