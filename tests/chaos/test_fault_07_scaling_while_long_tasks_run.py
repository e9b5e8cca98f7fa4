"""Workers come and go while long tasks run: each runs once, and other partitions stand still for 3 s at most."""

import asyncio
import time
from itertools import pairwise
from pathlib import Path

from tests.support.chaos.cluster import StruckCluster
from tests.support.chaos.trial import Trial, running_trial
from tests.support.waiting import eventually

LONG = 14.0
LONGEST_PAUSE = 3.0


async def test_long_tasks_run_once_and_others_flow_on(one_broker: StruckCluster, tmp_path: Path) -> None:
    with running_trial(one_broker, tmp_path / "trial", partitions=4, worker={"drain_timeout": 20.0}) as trial:
        first = await trial.worker()
        long = [task_id for partition in range(4) for task_id in trial.submit(2, partition=partition, seconds=LONG)]
        await eventually(lambda: all(trial.started(task_id) for task_id in long), within=15)
        trickle = asyncio.create_task(_trickle(trial, LONG + 4))
        second = await trial.worker()
        trial.faults.fired("scaled_to_2")
        third = await trial.worker()
        trial.faults.fired("scaled_to_3")
        await asyncio.to_thread(third.stop)
        # The first runs the long tasks: stopping it, it lets them come to their end.
        await asyncio.to_thread(first.stop)
        assert second.running
        quick = await trickle
        await trial.all_finished(within=40)
        (await trial.verdict()).require_clean()
        assert {len(trial.started(task_id)) for task_id in long} == {1}
        starts = sorted(run.at for task_id in quick for run in trial.started(task_id))
        assert len(starts) == len(quick)
        assert max(later - earlier for earlier, later in pairwise(starts)) < LONGEST_PAUSE


async def _trickle(trial: Trial, seconds: float) -> list[str]:
    """Quick tasks, about ten a second."""
    until = time.monotonic() + seconds
    ids: list[str] = []
    while time.monotonic() < until:
        ids += await asyncio.to_thread(trial.submit, 1)
        await asyncio.sleep(0.1)
    return ids
