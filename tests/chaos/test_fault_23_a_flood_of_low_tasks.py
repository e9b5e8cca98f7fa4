"""A flood in the low lane: high tasks start within 50 ms nearly always, and low ones still flow."""

from pathlib import Path

import pytest

from schemas.task import Priority
from tests.support.chaos.cluster import StruckCluster
from tests.support.chaos.trial import running_trial
from tests.support.waiting import eventually

FLOOD = 30_000
SECONDS_EACH = 0.01
SLOTS = 16
"""They need 19 s for the flood."""
P99_WITHIN = 0.05


@pytest.mark.long
async def test_high_is_served_at_once_and_low_flows(one_broker: StruckCluster, tmp_path: Path) -> None:
    with running_trial(one_broker, tmp_path / "trial", partitions=4) as trial:
        low = set(trial.submit(FLOOD, priority=Priority.LOW, seconds=SECONDS_EACH))
        await trial.worker(concurrency=SLOTS)
        await eventually(lambda: len(trial.runs()) > 200, within=30)
        before = len(trial.runs())
        high = await trial.trickle(10, every=0.05, priority=Priority.HIGH)
        trial.faults.fired("low_flood")
        assert low & trial.open_tasks(), "the flood was over before it could harm"
        assert len(trial.runs()) - before > 2 * len(high), "low starves"
        await eventually(lambda: not trial.open_tasks() & set(high), within=20)
        waits = sorted(trial.waits(high))
        assert waits[int(len(waits) * 0.99)] < P99_WITHIN
