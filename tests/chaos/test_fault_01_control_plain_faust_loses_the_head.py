"""Negative control of fault 1: plain Faust (concurrency=8, automatic acks) loses the head, and the judge sees it."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from schemas.task import Lane, Priority
from tests.support.chaos.cluster import StruckCluster
from tests.support.chaos.handlers import WORK
from tests.support.chaos.trial import Trial, running_trial
from tests.support.source_tree import ROOT
from tests.support.waiting import eventually

QUICK = 40


async def test_the_head_is_lost_and_the_detector_says_so(one_broker: StruckCluster, tmp_path: Path) -> None:
    with running_trial(one_broker, tmp_path / "trial", partitions=1) as trial:
        with plain_faust(trial) as first:
            (head,) = trial.submit(1, seconds=600)
            quick = trial.submit(QUICK)
            await eventually(lambda: _ended(trial) >= set(quick), within=60)
            await eventually(lambda: _committed(trial) > 1, within=30, what="a commit beyond the head")
            assert len(trial.started(head)) == 1
            first.kill()
            first.wait(10)
            trial.faults.fired("worker_sigkill", [first.pid])
        with plain_faust(trial):
            (sentinel,) = trial.submit(1)
            await eventually(lambda: sentinel in _ended(trial), within=60)
            # Whatever was to be delivered before the sentinel has been: the partition is read in order.
            assert len(trial.started(head)) == 1, "plain Faust ran the head again: it is no control any more"
        verdict = await trial.verdict()
        assert any(head in violation.what and "lost" in violation.what for violation in verdict.of("I1"))
        assert verdict.of("I6"), "the commit over the running head went unnoticed"


def _committed(trial: Trial) -> int:
    return next(sample.committed for sample in trial.offsets.ask() if sample.lane == f"{WORK}.normal")


def _ended(trial: Trial) -> set[str]:
    return {run.task_id for run in trial.runs() if run.mark == "end"}


@contextmanager
def plain_faust(trial: Trial) -> Iterator["subprocess.Popen[bytes]"]:
    lane = Lane(WORK, Priority.NORMAL)
    topic, group = trial.topics.lane(lane), trial.topics.group(lane)
    arguments = [trial.cluster.direct_servers, group, topic, str(trial.runs_file), str(trial.folder / "faust")]
    with (trial.folder / "faust.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.plain_faust", *arguments],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait(10)
