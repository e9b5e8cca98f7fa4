"""A worker stands still for longer than its session and comes back: what it still tells is not believed."""

import asyncio
from pathlib import Path

from schemas.status import State
from tests.support.chaos.cluster import StruckCluster
from tests.support.chaos.trial import running_trial
from tests.support.waiting import eventually

TASKS = 6


async def test_the_zombie_changes_nothing(one_broker: StruckCluster, tmp_path: Path) -> None:
    with running_trial(one_broker, tmp_path / "trial", partitions=1, worker={"session_timeout": 3.0}) as trial:
        zombie = await trial.worker()
        gate = trial.gate()
        held = trial.submit(TASKS, until=str(gate))
        await eventually(lambda: all(trial.started(task_id) for task_id in held), within=20)
        told = trial.observer.seen.statuses
        await eventually(lambda: all(told[i] and told[i][-1].state is State.RUNNING for i in held), within=20)
        with zombie.frozen() as fault:
            await trial.worker()
            await eventually(lambda: all(len(trial.started(i)) == 2 for i in held), within=25, what="a takeover")
            gate.touch()
            await trial.all_finished(within=20)
        frozen = {run.pid for run in trial.runs() if run.pid in fault.pids}
        assert frozen, "the zombie ran nothing"

        def came_back() -> bool:
            ended = {run.task_id for run in trial.runs() if run.mark == "end" and run.pid in frozen}
            # A worker may also choose to drop what it no longer owns, or to start afresh.
            return ended >= set(held) or not zombie.running or zombie.output.count("worker ready") > 1

        await eventually(came_back, within=20, what="a zombie that finishes what it had begun")
        # Long enough for it to publish, had it wanted to: others finish a task of their own meanwhile.
        await asyncio.to_thread(trial.submit, 20, seconds=0.5)
        await trial.all_finished(within=30)
        (await trial.verdict()).require_clean()
        # A takeover may repeat an outcome; whoever repeats it says whose it was.
        for task_id in held:
            first_end = next(status for status in told[task_id] if status.state is State.SUCCEEDED)
            workers = {outcome.worker for outcome in trial.observer.seen.outcomes[task_id]}
            assert workers == {first_end.worker}, "an outcome of the zombie was published"
