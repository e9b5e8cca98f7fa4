"""A worker that its groups gave up for a while: what it had finished does not run again, and what waited goes on."""

import asyncio
import os
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from schemas import codec
from schemas.headers import Delivery, delivery_headers
from schemas.settings import Settings
from schemas.topics import Topics
from tests.support.kafka import produce_raw
from tests.support.waiting import eventually
from tests.support.workers import outcomes, running_worker, submit

TYPE = "test.ledger"


@pytest.mark.long
async def test_what_ends_as_it_wakes_counts(settings: Settings, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    with running_worker(settings, tmp_path / "worker.log", TYPE) as worker:
        await worker.ready()
        ids = submit(settings, TYPE, [{"path": str(ledger), "seconds": 4}] * 6)
        await eventually(lambda: ledger.exists() and ledger.read_text().count("start") == 6, within=30)
        os.killpg(worker.process.pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(settings.worker.session_timeout + 3)
        finally:
            os.killpg(worker.process.pid, signal.SIGCONT)
        found = await outcomes(settings, TYPE, 6, within=60)
        assert "the group had given this worker up" in worker.log.read_text()
    assert set(found) == set(ids)
    assert ledger.read_text().count("start") == 6


@pytest.mark.long
async def test_what_waits_on_a_rung_is_moved_after_the_freeze(settings: Settings, tmp_path: Path) -> None:
    topics = Topics(settings.kafka.topic_prefix)
    with running_worker(settings, tmp_path / "worker.log", "test.echo") as worker:
        await worker.ready()
        submit(settings, "test.echo", [{}])
        await outcomes(settings, "test.echo", 1)
        await asyncio.sleep(5)  # the group of the waiting topics has come together
        due = datetime.now(UTC) + timedelta(seconds=7)
        for number in range(settings.kafka.partitions):
            value = codec.encode({"id": f"waits-{number}", "type": "test.echo", "payload": {}})
            headers = delivery_headers(Delivery(not_before=due))
            produce_raw(settings.bootstrap_servers, topics.retry("5s"), [value], partition=number, headers=headers)
        await asyncio.sleep(2)  # fetched, and waiting in memory with their partitions paused
        os.killpg(worker.process.pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(settings.worker.session_timeout + 3)
        finally:
            os.killpg(worker.process.pid, signal.SIGCONT)
        found = await outcomes(settings, "test.echo", 1 + settings.kafka.partitions, within=40)
    assert {f"waits-{number}" for number in range(settings.kafka.partitions)} <= set(found)
