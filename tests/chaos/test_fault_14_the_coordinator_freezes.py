"""The broker that coordinates a lane's group freezes for 20 s: nothing is lost, and the stall ends 10 s after it."""

import asyncio
from pathlib import Path

import pytest

from schemas.status import State
from schemas.task import Lane, Priority
from tests.support.chaos.cluster import StruckCluster
from tests.support.chaos.handlers import WORK
from tests.support.chaos.trial import running_trial
from tests.support.waiting import eventually

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


@pytest.mark.long
async def test_nothing_waits_for_a_worker_that_was_given_up_and_lives(
    one_broker: StruckCluster, tmp_path: Path
) -> None:
    with running_trial(one_broker, tmp_path / "trial", partitions=9, worker={"session_timeout": 3.0}) as trial:
        await trial.worker()
        gate = trial.gate()
        held = [task_id for number in range(9) for task_id in trial.submit(1, partition=number, until=str(gate))]
        told = trial.observer.seen.statuses
        await eventually(lambda: all(told[i] and told[i][-1].state is State.RUNNING for i in held), within=20)
        for _ in range(2):
            await trial.worker()
        with one_broker.frozen(trial.faults, 1):
            await asyncio.sleep(trial.settings.worker.session_timeout * 3)
        # Mostly the broker gives them all up when it wakes. Whether or not, the lanes move again.
        quick = trial.submit(18)
        await eventually(lambda: not trial.open_tasks() & set(quick), within=40)
        gate.touch()
        await trial.all_finished(within=20)
        (await trial.verdict()).require_clean()
