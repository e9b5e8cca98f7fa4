"""SIGKILL of the broker that leads a busy partition: nothing is lost, nothing is made up, ingest goes on within 5 s."""

import asyncio
from pathlib import Path
from random import Random

from schemas.task import Lane, Priority
from tests.chaos.load import Load
from tests.support.chaos.cluster import StruckCluster
from tests.support.chaos.handlers import WORK
from tests.support.chaos.trial import running_trial

AWAY = 5.0
RATE = 10.0
# A fail-over takes the broker about 3 s; the rest is for a machine with other work.
P99_WITHIN = 10.0


async def test_nothing_is_lost_and_ingest_goes_on(three_brokers: StruckCluster, tmp_path: Path) -> None:
    with running_trial(three_brokers, tmp_path / "trial", with_api=True) as trial:
        api, worker = await trial.api(), await trial.worker()
        load = Load(trial, api.address, Random(10), rate=RATE, keys=0)
        producing = asyncio.create_task(load.run())
        await asyncio.sleep(3)
        leader = three_brokers.leader(trial.topics.lane(Lane(WORK, Priority.NORMAL)))
        killed = three_brokers.killed(trial.faults, leader)
        await asyncio.to_thread(killed.__enter__)
        await asyncio.sleep(AWAY)
        await asyncio.to_thread(killed.__exit__, None, None, None)
        await asyncio.sleep(2)
        load.stop()
        await producing
        await trial.all_finished(within=60)
        (await trial.verdict()).require_clean()
        assert worker.running
        promised = sorted(load.promised_after)
        assert len(promised) > RATE
        assert promised[int(len(promised) * 0.99)] < P99_WITHIN
