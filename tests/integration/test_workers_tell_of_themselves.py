"""Each worker process is listed with what it runs since when, until it stops."""

import asyncio
import json
import re
import subprocess
import sys
from pathlib import Path

import httpx

from laneway import AsyncClient
from schemas.metrics import API_METRICS
from schemas.settings import Settings, environment_for
from schemas.worker import WorkerView
from tests.support.api import running_api
from tests.support.source_tree import ROOT
from tests.support.waiting import eventually
from tests.support.watched_handlers import FLAKY, STEPS
from tests.support.workers import running_worker

MODULE = "tests.support.watched_handlers"


async def test_with_what_it_runs_until_it_stops(settings: Settings, tmp_path: Path) -> None:
    with running_api(settings, tmp_path / "api.log", FLAKY, STEPS, module=MODULE) as api:
        await api.ready()
        async with AsyncClient(api.address) as client:
            assert await client.workers() == []
            with running_worker(settings, tmp_path / "worker.log", FLAKY, STEPS, module=MODULE) as worker:
                await worker.ready()
                gate = tmp_path / "gate"
                task = await client.submit(STEPS, {"percents": [10], "gate": str(gate)}, priority="high")

                async def runs_it() -> WorkerView:
                    listed = await client.workers()
                    assert [each.id for found in listed for each in found.running] == [task.id]
                    return listed[0]

                found = await eventually(runs_it, within=30)
                assert found.alive
                assert not found.stuck
                assert (found.running_total, found.running[0].type, found.running[0].attempt) == (1, STEPS, 1)
                lanes = {(lane.type, str(lane.priority)): lane.partitions for lane in found.lanes}
                assert lanes[STEPS, "high"] == [0, 1, 2, 3]
                assert {slots.type: slots.busy for slots in found.slots} == {FLAKY: 0, STEPS: 1}
                assert (await client.get(task.id)).worker == found.worker
                async with httpx.AsyncClient() as plain:
                    told = (await plain.get(f"{api.address}/metrics")).text
                assert set(re.findall(r"^# TYPE (\w+) ", told, re.MULTILINE)) == {each.name for each in API_METRICS}
                assert 'laneway_workers{state="alive"} 1.0' in told
                assert f'laneway_lane_workers{{priority="low",type="{STEPS}"}} 1.0' in told
                assert f'laneway_api_tasks_accepted_total{{priority="high",type="{STEPS}"}} 1.0' in told
                assert 'laneway_timers_waiting{rung="30s"} 0.0' in told
                assert f'laneway_lane_lag{{priority="high",type="{STEPS}"}} 1.0' in told
                assert 'laneway_api_ready{check="broker"} 1.0' in told
                healthy = await asyncio.to_thread(doctor, settings, api.address)
                assert healthy.returncode == 0, healthy.stdout
                assert {(each["name"], each["state"]) for each in checks_of(healthy)} == {
                    (name, "ok") for name in ("broker", "topics", "api", "clocks", "workers", "lanes")
                }
                await _lanes_tell_of_it_too(client, found.worker)
                gate.with_name("gate-10").touch()
                await client.wait(task.id)
                assert await _counted(client) == {(STEPS, "high", "succeeded"): 1}
            assert worker.process.returncode == 0

            async def gone() -> bool:
                return await client.workers() == []

            await eventually(gone, within=20)
            without = await asyncio.to_thread(doctor, settings, api.address)
            assert without.returncode == 1
            (failed,) = [each for each in checks_of(without) if each["state"] == "failed"]
            assert failed["remedy"] == "start `laneway worker`"


def doctor(settings: Settings, api: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "laneway.cli", "doctor", "--import", MODULE, "--api", api, "--json"],
        cwd=ROOT,
        env={**environment_for(settings), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )


def checks_of(told: "subprocess.CompletedProcess[str]") -> list[dict[str, str]]:
    checks: list[dict[str, str]] = json.loads(told.stdout)["checks"]
    return checks


async def _lanes_tell_of_it_too(client: AsyncClient, worker: str) -> None:
    async def told() -> bool:
        lanes = {(lane.type, str(lane.priority)): lane for lane in await client.lanes()}
        busy, idle = lanes[STEPS, "high"], lanes[STEPS, "low"]
        assert (busy.running, busy.oldest_seconds, busy.workers) == (1, None, [worker])
        assert (idle.running, idle.oldest_seconds, idle.workers) == (0, None, [worker])
        return True

    await eventually(told, within=20)


async def _counted(client: AsyncClient) -> dict[tuple[str, str, str], int]:
    async def settled() -> dict[tuple[str, str, str], int] | None:
        found = {(each.type, str(each.priority), str(each.state)): each.count for each in await client.counts()}
        return found if (STEPS, "high", "running") not in found else None

    return await eventually(settled, within=20) or {}
