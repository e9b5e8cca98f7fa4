"""Tasks with random delays start when they are due, none early, though others run meanwhile."""

from pathlib import Path
from random import Random

import httpx
import pytest

from schemas.settings import Settings
from tests.support.api import running_api
from tests.support.due_handlers import DUE, OTHER
from tests.support.due_tasks import DueTasks, others_running
from tests.support.workers import running_worker

pytestmark = pytest.mark.timeout(200)

MODULE = "tests.support.due_handlers"


@pytest.mark.parametrize(
    ("count", "longest", "judged"),
    [(500, 8.0, False), pytest.param(10_000, 60.0, True, marks=pytest.mark.long)],
    ids=["500", "10000"],
)
async def test_none_starts_early(settings: Settings, tmp_path: Path, count: int, longest: float, judged: bool) -> None:
    tasks = DueTasks(tmp_path / "ledger", Random(count))
    with (
        running_api(settings, tmp_path / "api.log", DUE, OTHER, module=MODULE) as api,
        running_worker(settings, tmp_path / "worker.log", DUE, OTHER, module=MODULE) as worker,
    ):
        await api.ready()
        await worker.ready()
        async with httpx.AsyncClient(base_url=api.address, timeout=30) as client, others_running(client):
            await tasks.submit(client, count, longest=longest)
            await tasks.all_started(within=longest + 30)
    late = tasks.lateness()
    print(late)  # noqa: T201  (the figures are what a long run is for)
    assert tasks.early() == []
    assert set(tasks.starts().values()) == {1}
    if judged:
        assert late.quantile(0.5) < 0.1
        assert late.quantile(0.99) < 1.0
