"""SIGKILL of the broker that leads a busy partition: nothing lost, nothing made up, ingest goes on with another."""

import asyncio
import time
from pathlib import Path
from random import Random

from schemas.task import Lane, Priority
from tests.chaos.load import Load
from tests.support.chaos.cluster import StruckCluster
from tests.support.chaos.handlers import WORK
from tests.support.chaos.trial import running_trial
from tests.support.waiting import eventually

AWAY = 8.0
RATE = 10.0
GOES_ON_WITHIN = 5.0
"""Seconds that a submission may take beyond those in which the partition had no leader."""


async def test_nothing_is_lost_and_ingest_goes_on(three_brokers: StruckCluster, tmp_path: Path) -> None:
    with running_trial(three_brokers, tmp_path / "trial", with_api=True) as trial:
        api, worker = await trial.api(), await trial.worker()
        load = Load(trial, api.address, Random(10), rate=RATE, keys=0)
        producing = asyncio.create_task(load.run())
        await asyncio.sleep(3)
        topic = trial.topics.lane(Lane(WORK, Priority.NORMAL))
        leader = three_brokers.leader(topic)
        killed = three_brokers.killed(trial.faults, leader)
        await asyncio.to_thread(killed.__enter__)
        try:
            began = time.monotonic()

            async def led_by_another() -> bool:
                return await asyncio.to_thread(three_brokers.leader, topic) not in {leader, -1}

            await eventually(led_by_another, within=60)
            led_at = time.monotonic()
            without_leader = led_at - began
            await asyncio.sleep(AWAY - without_leader)
        finally:
            await asyncio.to_thread(killed.__exit__, None, None, None)
        await asyncio.sleep(2)
        load.stop()
        await producing
        await trial.all_finished(within=60)
        (await trial.verdict()).require_clean()
        assert worker.running
        promised = sorted(load.promised_after)
        assert len(promised) > RATE
        slowest = promised[int(len(promised) * 0.99)]
        assert slowest < without_leader + GOES_ON_WITHIN, f"{slowest:.1f} s, {without_leader:.1f} s of them no leader"
        assert not [asked for asked in load.refused_at if asked > led_at], "refused though there is a leader"
