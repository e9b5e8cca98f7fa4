"""Five thousand clients follow a task each, on one API: every one sees its end, in less than 500 MB."""

import asyncio
import resource
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from schemas.settings import Settings
from tests.support.api import running_api
from tests.support.watched_handlers import FLAKY, STEPS
from tests.support.workers import running_worker

STREAMS = 5_000
MODULE = "tests.support.watched_handlers"
MEGABYTE = 1_000_000

pytestmark = [pytest.mark.long, pytest.mark.timeout(400)]


async def test_all_of_them(settings: Settings, tmp_path: Path) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 20_000), hard))
    with (
        running_api(settings, tmp_path / "api.log", FLAKY, STEPS, module=MODULE) as api,
        running_worker(settings, tmp_path / "worker.log", FLAKY, STEPS, module=MODULE) as worker,
    ):
        await api.ready()
        await worker.ready()
        idle = resident(api.process.pid)
        due = datetime.now(UTC) + timedelta(seconds=60)
        async with httpx.AsyncClient(base_url=api.address, timeout=60) as client:
            task = {"type": FLAKY, "payload": {"ok_at": 1}, "run_at": due.isoformat()}
            answer = await client.post("/api/tasks/batch", json=[task] * STREAMS)
            ids = [each["id"] for each in answer.json()["tasks"]]
        following = [asyncio.create_task(end_of(api.port, task_id)) for task_id in ids]
        await asyncio.sleep((due - datetime.now(UTC)).total_seconds())
        open_streams = resident(api.process.pid)
        began = time.monotonic()
        ends = await asyncio.gather(*following)
        print(  # noqa: T201  (the figures)
            f"{STREAMS} streams: API {idle / MEGABYTE:.0f} MB idle, {open_streams / MEGABYTE:.0f} MB with all open,"
            f" {resident(api.process.pid) / MEGABYTE:.0f} MB after; all ended {time.monotonic() - began:.1f} s after"
            " the tasks were due"
        )
        assert sum(ends) == STREAMS
        assert max(open_streams, resident(api.process.pid)) < 500 * MEGABYTE


async def end_of(port: int, task_id: str) -> bool:
    """Follow a task; says whether its end was told as succeeded."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET /api/tasks/{task_id}/events HTTP/1.1\r\nHost: test\r\n\r\n".encode())
    try:
        async for line in reader:
            if line.startswith(b"event: end"):
                return b'"state":"succeeded"' in await reader.readline()
    finally:
        writer.close()
    return False


def resident(pid: int) -> int:
    """Bytes of memory that a process has."""
    pages = int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1])
    return pages * resource.getpagesize()
