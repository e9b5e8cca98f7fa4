"""Records that come in while a group rebalances are run, though nothing follows them in their partitions."""

from pathlib import Path

import pytest

from schemas.settings import Settings
from tests.support.workers import outcomes, running_worker, submit

pytestmark = pytest.mark.timeout(200)

TASKS = 60


async def test_every_partition_goes_on(settings: Settings, tmp_path: Path) -> None:
    with (
        running_worker(settings, tmp_path / "first.log", "test.echo") as first,
        running_worker(settings, tmp_path / "second.log", "test.echo") as second,
    ):
        await first.ready()
        await second.ready()
        # The second is in the group, and the first hears of it about now: one fetch of it ends after its seek.
        submit(settings, "test.echo", [{}] * TASKS)
        await outcomes(settings, "test.echo", TASKS, within=30)
