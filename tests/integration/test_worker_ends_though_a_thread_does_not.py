"""A handler that never returns from its thread cannot keep its worker from ending."""

from pathlib import Path

from schemas.settings import Settings
from schemas.status import State
from tests.support.workers import outcomes, running_worker, submit


async def test_the_worker_ends(settings: Settings, tmp_path: Path) -> None:
    with running_worker(settings, tmp_path / "worker.log", "test.deaf") as worker:
        await worker.ready()
        (task_id,) = submit(settings, "test.deaf", [{}], timeout=0.3)
        outcome = (await outcomes(settings, "test.deaf", 1))[task_id]
        assert outcome.state is State.DEAD_LETTERED
        assert worker.stop() == 0
