"""A deployment rolls three workers under load: no task starts twice, and every stop keeps its bound."""

import asyncio
from pathlib import Path

import pytest

from tests.support.chaos.cluster import StruckCluster
from tests.support.chaos.trial import running_trial

ROLLS = 3
LOAD_EVERY = 0.25
"""With 20 tasks of 0.2 s and one of 3 s: half of what the 48 slots can do."""
DRAIN = 6.0
AND_LEAVE = 6.0


@pytest.mark.long
async def test_no_second_start_and_every_stop_in_time(one_broker: StruckCluster, tmp_path: Path) -> None:
    with running_trial(one_broker, tmp_path / "trial", partitions=4, worker={"drain_timeout": DRAIN}) as trial:
        workers = [trial.start_worker() for _ in range(3)]
        await asyncio.gather(*(worker.ready() for worker in workers))
        running = asyncio.Event()

        async def load() -> None:
            while not running.is_set():
                await asyncio.to_thread(trial.submit, 20, seconds=0.2)
                await asyncio.to_thread(trial.submit, 1, seconds=3.0)
                await asyncio.sleep(LOAD_EVERY)

        loading = asyncio.create_task(load())
        stops = []
        for _ in range(ROLLS):
            for index, old in enumerate(workers):
                workers[index] = await trial.worker()
                stops.append(await asyncio.to_thread(old.stop))
        running.set()
        await loading
        await trial.all_finished(within=60)
        verdict = await trial.verdict()
        verdict.require_clean()
        assert verdict.counts["started_again"] == 0
        assert max(stops) < DRAIN + AND_LEAVE, stops
