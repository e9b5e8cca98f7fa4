"""A worker dies between two steps of a task: nothing is lost, nothing finished runs again, each effect happens once."""

from pathlib import Path

import pytest

from tests.support.chaos.cluster import StruckCluster
from tests.support.chaos.processes import crash_mark, with_crash_point
from tests.support.chaos.trial import running_trial
from tests.support.waiting import eventually

TASKS = 60
WINDOWS = ("before_claim:15", "before_status:15", "after_status:15", "after_result:15", "before_commit:2")


@pytest.mark.parametrize("window", WINDOWS)
async def test_one_effect_and_no_second_run_of_the_finished(
    one_broker: StruckCluster, tmp_path: Path, window: str
) -> None:
    with running_trial(one_broker, tmp_path / "trial", partitions=1, worker={"session_timeout": 3.0}) as trial:
        doomed = trial.start_worker(with_crash_point(trial.settings, window), concurrency=8)
        mark = crash_mark(trial.settings, window)
        trial.submit(TASKS, seconds=0.02)
        await eventually(mark.exists, within=40, what=f"a death at {window}")
        trial.faults.fired(f"crash_at_{window}", [int(mark.read_text().split()[0])])
        # Its supervisor would start it again: then the worker that takes over is another one either way.
        if doomed.running:
            doomed.kill()
        await trial.worker(concurrency=8)
        await trial.all_finished(within=30)
        (await trial.verdict()).require_clean()
        effects = {path.name.partition(".")[0] for path in trial.effects.iterdir()}
        assert effects == set(trial.accepted.by_id)
