"""SIGKILL while a slow task heads its partition: nothing is lost, only what ran starts again, another takes over."""

import time
from pathlib import Path

from tests.support.chaos.cluster import StruckCluster
from tests.support.chaos.trial import running_trial
from tests.support.waiting import eventually

TAKEOVER: float = 30.0


async def test_nothing_is_lost_and_only_what_ran_starts_again(one_broker: StruckCluster, tmp_path: Path) -> None:
    with running_trial(one_broker, tmp_path / "trial", partitions=1) as trial:
        first = await trial.worker()
        (head,) = trial.submit(1, seconds=8)
        quick = trial.submit(20)
        await eventually(lambda: all(trial.observer.seen.final(task_id) for task_id in quick), within=20)
        assert len(trial.started(head)) == 1
        (lane,) = [s for s in trial.offsets.ask() if s.lane == "chaos.work.normal"]
        assert lane.committed == 0, "a commit passed the task that runs"
        first.kill()
        killed = time.time()
        await trial.worker()
        await eventually(lambda: len(trial.started(head)) == 2, within=TAKEOVER, what="a second start of the head")
        await trial.all_finished(within=30)
        verdict = await trial.verdict()
        verdict.require_clean()
        assert verdict.counts["started_again"] == 1
        assert trial.started(head)[1].at - killed < TAKEOVER
