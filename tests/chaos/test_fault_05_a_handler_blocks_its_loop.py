"""An async handler that blocks is noticed within 5 s and named, and tasks of other types never wait for it."""

import re
from pathlib import Path

import pytest

from tests.support.chaos.cluster import StruckCluster
from tests.support.chaos.handlers import BLOCKING, WORK
from tests.support.chaos.trial import running_trial
from tests.support.waiting import eventually

BLOCKED = 12.0
NOTICED_WITHIN = 5.0
LONGEST_WAIT = 2.0


@pytest.mark.long
async def test_it_is_noticed_and_others_go_on(one_broker: StruckCluster, tmp_path: Path) -> None:
    with running_trial(one_broker, tmp_path / "trial", types=(WORK, BLOCKING)) as trial:
        worker = await trial.worker()
        trial.submit(1)
        await trial.all_finished(within=20)
        (blocker,) = trial.submit(1, type_name=BLOCKING, block=BLOCKED)
        await eventually(lambda: trial.started(blocker), within=10)
        trial.faults.fired("blocked_loop")
        await eventually(
            lambda: re.search(r"block", worker.output, re.IGNORECASE), within=NOTICED_WITHIN, what="a word of it"
        )
        quick = await trial.trickle(5)
        await eventually(lambda: not trial.open_tasks() & set(quick), within=LONGEST_WAIT + 5)
        assert blocker in trial.open_tasks()
        await trial.all_finished(within=BLOCKED + 15)
        (await trial.verdict()).require_clean()
        assert max(trial.waits(quick)) < LONGEST_WAIT
