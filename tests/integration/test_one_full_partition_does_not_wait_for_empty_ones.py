"""What one partition holds is worked on without a pause, though the lane's other partitions have nothing to give."""

from itertools import pairwise
from pathlib import Path

import msgspec
import pytest

from laneway.ids import new_id
from schemas import codec
from schemas.settings import Settings
from schemas.task import Lane, Priority, Task
from schemas.topics import Topics, partition_of
from tests.support.kafka import produce_raw
from tests.support.workers import outcomes, running_worker

pytestmark = pytest.mark.timeout(120)

TASKS = 8000
PARTITION = 1
PAUSE = 0.5
"""Seconds in which hundreds of them start."""


async def test_the_lane_does_not_pause_between_fetches(settings: Settings, tmp_path: Path) -> None:
    lane = Topics(settings.kafka.topic_prefix).lane(Lane("test.ledger", Priority.NORMAL))
    payload = {"path": str(tmp_path / "ledger"), "seconds": 0.005, "so that a fetch does not hold them all": "." * 400}
    ids = (each for each in iter(new_id, "") if partition_of(each, settings.kafka.partitions) == PARTITION)
    with running_worker(settings, tmp_path / "worker.log", "test.ledger") as worker:
        await worker.ready()
        tasks = [
            codec.encode(Task(id=next(ids), type="test.ledger", payload=msgspec.Raw(codec.encode(payload))))
            for _ in range(TASKS)
        ]
        produce_raw(settings.bootstrap_servers, lane, tasks, partition=PARTITION)
        found = await outcomes(settings, "test.ledger", TASKS, within=60)
    started = sorted(each.started_at.timestamp() for each in found.values() if each.started_at is not None)
    pauses = [after - before for before, after in pairwise(started) if after - before > PAUSE]
    assert len(pauses) < 2, pauses
    assert max(pauses, default=0.0) < 1.0, pauses
