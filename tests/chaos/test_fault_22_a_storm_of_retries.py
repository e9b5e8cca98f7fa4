"""Every task of one type fails for a while: other types do not feel it, and its retries drain."""

import asyncio
from pathlib import Path

import pytest

from schemas.status import State
from tests.support.chaos.cluster import StruckCluster
from tests.support.chaos.handlers import DEADLY, WORK
from tests.support.chaos.trial import running_trial

SECONDS = 15.0


@pytest.mark.long
async def test_other_types_do_not_feel_it(one_broker: StruckCluster, tmp_path: Path) -> None:
    # Without a budget of dead letters, which would hold the lane in the middle of the storm.
    without = {"dead_letter_budget": 0}
    with running_trial(one_broker, tmp_path / "trial", types=(WORK, DEADLY), worker=without) as trial:
        await trial.worker()
        trial.submit(5)
        await trial.all_finished(within=20)
        before = await trial.trickle(SECONDS)
        await trial.all_finished(within=30)
        calm = _p99(trial.waits(before))
        storm = asyncio.create_task(
            trial.trickle(SECONDS, every=0.02, type_name=DEADLY, ok_at=99, max_attempts=3, ends=(State.DEAD_LETTERED,))
        )
        quick = await trial.trickle(SECONDS)
        failing = await storm
        await trial.all_finished(within=60)
        trial.faults.fired("retry_storm")
        (await trial.verdict()).require_clean()
        assert all(len(trial.started(task_id)) == 3 for task_id in failing[:20])
        # Twice as long, but a few milliseconds more are no harm where the calm figure is tiny.
        assert _p99(trial.waits(quick)) <= max(2 * calm, 0.05)


def _p99(values: list[float]) -> float:
    return sorted(values)[int(len(values) * 0.99)]
