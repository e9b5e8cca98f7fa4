"""Broker and worker are killed while tasks wait: each starts, none early, and soon once both are back."""

import asyncio
import time
from pathlib import Path
from random import Random
from secrets import token_hex

import httpx
import pytest

from schemas.settings import ApiSettings, KafkaSettings, Settings, WorkerSettings
from tests.support.api import running_api
from tests.support.chaos.cluster import StruckCluster
from tests.support.chaos.faults import FaultLog
from tests.support.due_handlers import DUE, OTHER
from tests.support.due_tasks import DueTasks, others_running
from tests.support.waiting import eventually
from tests.support.workers import running_worker

MODULE = "tests.support.due_handlers"


@pytest.mark.long
@pytest.mark.parametrize(
    ("count", "longest", "judged"),
    [(500, 30.0, False), (10_000, 60.0, True)],
    ids=["500", "10000"],
)
async def test_each_starts_and_none_early(
    one_broker: StruckCluster, tmp_path: Path, count: int, longest: float, judged: bool
) -> None:
    settings = Settings(
        data_dir=tmp_path / "data",
        kafka=KafkaSettings(
            bootstrap_servers=one_broker.bootstrap_servers, topic_prefix=f"t{token_hex(5)}.", partitions=4
        ),
        api=ApiSettings(port=0, accept_timeout=5.0),
        worker=WorkerSettings(drain_timeout=5.0, session_timeout=6.0, commit_interval=0.2),
    )
    tasks, faults = DueTasks(tmp_path / "ledger", Random(count)), FaultLog()
    with running_api(settings, tmp_path / "api.log", DUE, OTHER, module=MODULE) as api:
        await api.ready()
        async with httpx.AsyncClient(base_url=api.address, timeout=30) as client, others_running(client):
            with running_worker(settings, tmp_path / "first.log", DUE, OTHER, module=MODULE) as worker:
                await worker.ready()
                await tasks.submit(client, count, longest=longest)
                await eventually(lambda: len(tasks.starts()) > count // 8, within=longest)
                killed_at = time.time()
                with one_broker.killed(faults, 1):
                    worker.kill()
                    await asyncio.sleep(1)
            with running_worker(settings, tmp_path / "second.log", DUE, OTHER, module=MODULE) as worker:
                await worker.ready()
                back_at = time.time()
                await tasks.all_started(within=longest + 60)
    # A few were due just before the kill and had not started.
    overdue = tasks.lateness(killed_at - 1, back_at, back_at=back_at)
    late = tasks.lateness(back_at)
    print(f"away for {back_at - killed_at:.1f} s; due by then: {overdue}; later: {late}")  # noqa: T201  (the figures)
    assert "worker died" not in (tmp_path / "second.log").read_text()
    assert tasks.early() == []
    # What was started and not yet told of at the kill starts again.
    assert sum(tasks.starts().values()) - count <= 200
    if judged:
        assert overdue.quantile(0.99) < 15.0
        assert late.quantile(0.5) < 0.1
        assert late.quantile(0.99) < 5.0
