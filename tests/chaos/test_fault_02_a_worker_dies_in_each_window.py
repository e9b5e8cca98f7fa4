"""Workers die one after the other, each between two other steps: nothing is lost, and each effect happens once."""

import contextlib
from pathlib import Path

from tests.support.chaos.cluster import StruckCluster
from tests.support.chaos.processes import crash_mark, with_crash_point
from tests.support.chaos.trial import running_trial
from tests.support.processes import is_alive
from tests.support.waiting import eventually

TASKS = 40
WINDOWS = ("before_claim:15", "before_status:15", "after_status:15", "after_result:15", "before_commit:2")


async def test_one_effect_and_no_second_run_of_the_finished(one_broker: StruckCluster, tmp_path: Path) -> None:
    with running_trial(one_broker, tmp_path / "trial", partitions=1, worker={"session_timeout": 3.0}) as trial:
        for window in WINDOWS:
            trial.submit(TASKS, seconds=0.02)
            doomed = trial.start_worker(with_crash_point(trial.settings, window), concurrency=8)
            mark = crash_mark(trial.settings, window)
            # It makes the file first, and then writes into it.
            await eventually(lambda: mark.exists() and mark.stat().st_size > 0, within=40, what=f"a death at {window}")  # noqa: B023
            await eventually(lambda: not is_alive(int(mark.read_text().split()[0])), within=10)  # noqa: B023
            trial.faults.fired(f"crash_at_{window}", [int(mark.read_text().split()[0])])
            # Where a supervisor would start it again, the whole worker goes: the next one takes over either way.
            with contextlib.suppress(RuntimeError):  # it had no supervisor and is gone
                doomed.kill()
        await trial.worker(concurrency=8)
        await trial.all_finished(within=40)
        (await trial.verdict()).require_clean()
        effects = {path.name.partition(".")[0] for path in trial.effects.iterdir()}
        assert effects == set(trial.accepted.by_id)
