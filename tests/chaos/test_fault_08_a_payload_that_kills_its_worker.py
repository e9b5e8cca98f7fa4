"""A payload that ends the process at every run is set aside after three deaths; its neighbours are not charged."""

import asyncio
from pathlib import Path

import pytest

from schemas.status import State
from tests.support.chaos.cluster import StruckCluster
from tests.support.chaos.handlers import DEADLY
from tests.support.chaos.trial import Trial, running_trial

MOST_DEATHS = 3
NEIGHBOURS = 12


@pytest.mark.long
async def test_the_guilty_is_set_aside_and_neighbours_keep_their_attempts(
    one_broker: StruckCluster, tmp_path: Path
) -> None:
    with running_trial(one_broker, tmp_path / "trial", types=(DEADLY,), partitions=1) as trial:
        alive = asyncio.create_task(_kept_alive(trial))
        neighbours = trial.submit(NEIGHBOURS, type_name=DEADLY, seconds=1.0)
        (guilty,) = trial.submit(1, type_name=DEADLY, abort=True, ends=(State.DEAD_LETTERED,))
        neighbours += trial.submit(NEIGHBOURS, type_name=DEADLY, seconds=1.0)
        await trial.all_finished(within=120)
        alive.cancel()
        await asyncio.gather(alive, return_exceptions=True)
        deaths = trial.started(guilty)
        assert 1 <= len(deaths) <= MOST_DEATHS
        for death in deaths:
            trial.faults.died("abort", death.pid, death.at)
        verdict = await trial.verdict()
        verdict.require_clean()
        attempts = {run.attempt for task_id in neighbours for run in trial.started(task_id)}
        assert attempts == {1}, "neighbours were charged"
        assert len(trial.observer.seen.dead_letters) == 1


async def _kept_alive(trial: Trial) -> None:
    """A worker, started again whenever it has ended: what an operator's init system does."""
    while True:
        worker = trial.start_worker()
        while worker.running:  # noqa: ASYNC110  (another process)
            await asyncio.sleep(0.1)
