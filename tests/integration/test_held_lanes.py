"""A held lane starts nothing on any worker, a restart included; what runs goes on, and other lanes flow."""

import asyncio
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from laneway import AsyncClient
from schemas.settings import Settings
from schemas.status import State
from tests.support.api import running_api
from tests.support.controlled import MODULE, TYPES
from tests.support.waiting import eventually
from tests.support.workers import outcomes, running_worker, submit

pytestmark = pytest.mark.timeout(200)
BACKLOG = 3_000
"""More than a worker takes in ahead, so that its consumer fetches nothing while the lane is held."""
HELD_FOR = 75.0


@pytest.fixture
def settings(settings: Settings) -> Settings:
    worker = settings.worker.model_copy(update={"dead_letter_budget": 20})
    return settings.model_copy(update={"worker": worker})


async def test_held_on_every_worker_and_after_a_restart(settings: Settings, tmp_path: Path) -> None:
    payload = {"path": str(tmp_path / "ledger")}
    with running_api(settings, tmp_path / "api.log", *TYPES, module=MODULE) as api:
        await api.ready()
        async with AsyncClient(api.address) as client:
            with (
                running_worker(settings, tmp_path / "first.log", "ctl.async", module=MODULE) as first,
                running_worker(settings, tmp_path / "second.log", "ctl.async", module=MODULE) as second,
            ):
                await first.ready()
                await second.ready()
                runs = await client.submit("ctl.async", {**payload, "do": "finish"}, priority="low")
                await eventually((tmp_path / "ledger").exists, within=20, what="the start of a task")
                (lane,) = await client.pause("ctl.async", "low", reason="the other side is down")
                assert (lane.paused, lane.reason, lane.by) == (True, "the other side is down", "api")
                await asyncio.sleep(1)  # within which every worker knows
                held = [await client.submit("ctl.async", payload, priority="low") for _ in range(8)]
                free = [await client.submit("ctl.async", payload) for _ in range(8)]
                for task in (runs, *free):
                    assert (await client.wait(task.id, timedelta(seconds=20))).state is State.SUCCEEDED
                await asyncio.sleep(1)
                assert {(await client.get(task.id)).state for task in held} == {State.QUEUED}
                found = {(each.type, str(each.priority)): each for each in await client.lanes()}
                assert found["ctl.async", "low"].paused
                assert not found["ctl.async", "high"].paused
                assert found["ctl.async", "low"].lag == len(held)
            with running_worker(settings, tmp_path / "third.log", "ctl.async", module=MODULE) as third:
                await third.ready()
                await asyncio.sleep(2)
                assert {(await client.get(task.id)).state for task in held} == {State.QUEUED}
                await client.resume("ctl.async")
                for task in held:
                    assert (await client.wait(task.id, timedelta(seconds=20))).state is State.SUCCEEDED


@pytest.mark.long
async def test_a_lane_that_was_held_for_long_goes_on(settings: Settings, tmp_path: Path) -> None:
    with (
        running_api(settings, tmp_path / "api.log", *TYPES, module=MODULE) as api,
        running_worker(settings, tmp_path / "worker.log", "ctl.async", module=MODULE) as worker,
    ):
        await api.ready()
        await worker.ready()
        async with AsyncClient(api.address) as client:
            await client.pause("ctl.async")
            await asyncio.sleep(1)
            ids = submit(settings, "ctl.async", [{"path": str(tmp_path / "ledger")}] * BACKLOG)
            await asyncio.sleep(HELD_FOR)
            await client.resume("ctl.async")
        found = await outcomes(settings, "ctl.async", BACKLOG, within=90)
    assert found.keys() == set(ids)


async def test_a_lane_that_pours_into_the_dead_letters_is_held(settings: Settings, tmp_path: Path) -> None:
    with (
        running_api(settings, tmp_path / "api.log", *TYPES, module=MODULE) as api,
        running_worker(settings, tmp_path / "worker.log", "ctl.failing", module=MODULE) as worker,
    ):
        await api.ready()
        await worker.ready()
        async with AsyncClient(api.address) as client:
            for _ in range(200):
                await client.submit("ctl.failing", {})
            well = await client.submit("ctl.failing", {"well": True}, priority="high")

            async def held() -> bool:
                return any(each.paused for each in await client.lanes())

            await eventually(held, within=20)
            (lane,) = [each for each in await client.lanes() if each.paused]
            assert (lane.type, lane.priority) == ("ctl.failing", "normal")
            assert "budget" in (lane.reason or "")
            assert (await client.wait(well.id, timedelta(seconds=20))).state is State.SUCCEEDED
            await asyncio.sleep(1)
            dead = len((await client.list(type="ctl.failing", state="dead_lettered", limit=1000)).tasks)
            # What ran in that moment still ends.
            assert 20 < dead < 20 + 2 * settings.worker.concurrency
            await client.resume("ctl.failing", "normal")

            async def more() -> bool:
                found = await client.list(type="ctl.failing", state="dead_lettered", limit=1000)
                return len(found.tasks) > dead

            await eventually(more, within=20)


async def test_bad_requests_are_told(settings: Settings, tmp_path: Path) -> None:
    with running_api(settings, tmp_path / "api.log") as api:
        await api.ready()
        async with httpx.AsyncClient(base_url=api.address) as client:
            for path, body, expected in (
                ("/api/lanes/nothing/high/pause", b"", 404),
                ("/api/lanes/chat/urgent/pause", b"", 400),
                ("/api/lanes/chat/high/pause", b"{", 400),
                ("/api/lanes/chat/high/pause", b'{"why": 1}', 422),
                ("/api/lanes/chat/high/pause", b"x" * 20_000, 413),
            ):
                answer = await client.post(path, content=body)
                assert answer.status_code == expected, (path, body, answer.text)
                assert answer.headers["content-type"] == "application/problem+json"
