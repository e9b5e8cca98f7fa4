"""A handler that never returns is timed out, tried again and set aside; its slot is free one second later at most."""

from pathlib import Path

import pytest

from schemas.status import State
from tests.support.chaos.cluster import StruckCluster
from tests.support.chaos.trial import running_trial
from tests.support.waiting import eventually

TIMEOUT = 2.0
FREE_WITHIN = 1.0


@pytest.mark.long
async def test_its_slot_is_free_soon_after_the_timeout(one_broker: StruckCluster, tmp_path: Path) -> None:
    with running_trial(one_broker, tmp_path / "trial", partitions=1) as trial:
        await trial.worker(concurrency=1)
        trial.submit(1)
        await trial.all_finished(within=20)
        (stuck,) = trial.submit(
            1, until=str(trial.gate("never")), timeout=TIMEOUT, max_attempts=2, ends=(State.DEAD_LETTERED,)
        )
        await eventually(lambda: trial.started(stuck), within=10)
        (waiting,) = trial.submit(1)
        await trial.all_finished(within=30)
        trial.faults.fired("endless_handler")
        (await trial.verdict()).require_clean()
        assert len(trial.started(stuck)) == 2
        waited = trial.started(waiting)[0].at - trial.started(stuck)[0].at
        assert TIMEOUT <= waited < TIMEOUT + FREE_WITHIN
