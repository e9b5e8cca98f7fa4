"""Workers come and go while long tasks run: each runs once, and other tasks never wait longer than 3 s."""

import asyncio
from pathlib import Path

from tests.support.chaos.cluster import StruckCluster
from tests.support.chaos.trial import running_trial
from tests.support.waiting import eventually

LONGEST_WAIT = 3.0


async def test_long_tasks_run_once_and_others_flow_on(one_broker: StruckCluster, tmp_path: Path) -> None:
    with running_trial(one_broker, tmp_path / "trial", partitions=4, worker={"drain_timeout": 20.0}) as trial:
        first = await trial.worker()
        gate = trial.gate()
        long = [task for number in range(4) for task in trial.submit(2, partition=number, until=str(gate))]
        await eventually(lambda: all(trial.started(task_id) for task_id in long), within=30)
        runners = trial.pids_of(long)
        # Each newcomer takes partitions over, with the long tasks that are not committed in them.
        await trial.worker()
        trial.faults.fired("scaled_to_2")
        third = await trial.worker()
        trial.faults.fired("scaled_to_3")
        quick = await trial.trickle(4)
        await eventually(lambda: len(trial.pids_of(quick) - runners) >= 2, within=20, what="newcomers at work")
        await asyncio.to_thread(third.stop)
        quick += await trial.trickle(4)
        gate.touch()
        await asyncio.to_thread(first.stop)
        await trial.all_finished(within=40)
        (await trial.verdict()).require_clean()
        assert {len(trial.started(task_id)) for task_id in long} == {1}
        assert trial.pids_of(long) == runners
        assert max(trial.waits(quick)) < LONGEST_WAIT
