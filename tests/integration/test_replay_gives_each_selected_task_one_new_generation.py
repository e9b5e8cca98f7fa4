"""A plan is made and run: what it selects has exactly one new generation, through kills, a pause and an abort."""

import os
import random
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from schemas import codec
from schemas.outcome import Outcome
from schemas.settings import Settings
from schemas.status import State, Status
from schemas.task import Lane, Priority, Task
from schemas.topics import Topics
from tests.support.api import RunningApi, running_api
from tests.support.kafka import empty_topic, read_all
from tests.support.waiting import eventually
from tests.support.workers import outcome_records, outcomes, running_worker

pytestmark = pytest.mark.timeout(240)

MODULE = "tests.support.replay_handlers"
TYPES = ("past.echo", "past.failing")
TOMORROW = (datetime.now(UTC) + timedelta(days=1)).isoformat()


async def submitted(client: httpx.AsyncClient, count: int, **fields: Any) -> list[str]:
    """Accept tasks in batches; answers their ids."""
    ids: list[str] = []
    for begin in range(0, count, 2_000):
        tasks = [
            {"type": "past.echo", "payload": {"n": n, "kind": "odd" if n % 2 else "even"}, **fields}
            for n in range(begin, min(begin + 2_000, count))
        ]
        answer = await client.post("/api/tasks/batch", json=tasks, timeout=30)
        assert answer.status_code == 202, answer.text
        ids += [each["id"] for each in answer.json()["tasks"]]
    return ids


def generations(settings: Settings, priority: Priority) -> dict[str, list[int]]:
    """By task id, the generations whose records lie in a lane."""
    found: dict[str, list[int]] = {}
    lane = Topics(settings.kafka.topic_prefix).lane(Lane("past.echo", priority))
    for record in read_all(settings.bootstrap_servers, lane):
        task = codec.decode(record.value, Task)
        found.setdefault(task.id, []).append(task.generation)
    return found


async def runner_of(api: RunningApi) -> int:
    """Process id of the one that runs replays."""

    def found() -> int:
        children = Path(f"/proc/{api.process.pid}/task/{api.process.pid}/children").read_text().split()
        mine = [pid for pid in children if b"replay-process" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        assert mine, "no process runs replays"
        return int(mine[0])

    return await eventually(found, within=30)


async def told(client: httpx.AsyncClient, replay_id: str, *states: str, within: float = 60) -> Any:
    """A replay, once it is in one of these states."""

    async def reached() -> Any:
        found = (await client.get(f"/api/replays/{replay_id}", timeout=30)).json()
        assert found["state"] in states, found
        return found

    return await eventually(reached, within=within)


async def test_a_plan_selects_by_payload_and_is_run_as_it_is(settings: Settings, tmp_path: Path) -> None:
    with (
        running_api(settings, tmp_path / "api.log", *TYPES, module=MODULE) as api,
        running_worker(settings, tmp_path / "w.log", *TYPES, module=MODULE) as worker,
    ):
        await api.ready()
        await worker.ready()
        async with httpx.AsyncClient(base_url=api.address) as client:
            for body, status in (
                ({}, 422),
                ({"select": {}}, 422),
                ({"select": {"types": []}}, 422),
                ({"select": {"states": ["running"]}}, 422),
                ({"select": {"where": "payload ="}}, 422),
                ({"select": {"types": ["past.ecko"]}}, 404),
                ({"select": {"key": "a"}, "transform": "os:system"}, 422),
                ({"select": {"key": "a"}, "rat": 5}, 422),
                ({"select": {"key": "a"}, "shadow": True, "canary": {"count": 1}}, 422),
                ({"select": {"key": "a"}, "shadow": True, "priority": "high"}, 422),
            ):
                answer = await client.post("/api/replays", json=body)
                assert answer.status_code == status, (body, answer.text)
            ids = await submitted(client, 200, labels={"tenant": "acme"})
            await outcomes(settings, "past.echo", 200)
            select = {"types": ["past.echo"], "where": "kind == 'odd' && n > `99`", "labels": {"tenant": "acme"}}
            for since, selected in (("1970-01-01T00:00:00Z", 50), ("1970-01-01T00:00:10Z", 50), (TOMORROW, 0)):
                answer = await client.post(
                    "/api/replays?wait=20", json={"select": {**select, "since": since}, "dry_run": True}, timeout=30
                )
                assert answer.status_code == 202, answer.text
                assert answer.json()["plan"]["selected"] == selected, since
            answer = await client.post(
                "/api/replays?wait=20",
                json={"select": select, "dry_run": True, "patch": {"kind": "patched", "n": None}, "rate": 0},
                timeout=30,
            )
            assert answer.status_code == 202, answer.text
            planned = answer.json()
            assert planned["state"] == "planned"
            plan = planned["plan"]
            assert (plan["selected"], plan["types"], plan["states"]) == (50, {"past.echo": 50}, {"succeeded": 50})
            assert any("kind" in line for line in plan["samples"][0]["diff"])
            assert set(generations(settings, Priority.LOW)) == set()
            await submitted(client, 4)  # behind the plan's end: no part of it
            assert (await client.post(f"/api/replays/{planned['id']}/run")).status_code == 202
            done = await told(client, planned["id"], "done")
            assert done["counts"]["replayed"] == 50
            again = generations(settings, Priority.LOW)
            assert set(again) == {ids[n] for n in range(101, 200, 2)}
            assert set(map(tuple, again.values())) == {(2,)}

            answer = await client.get(f"/api/tasks/{ids[101]}?wait=10", timeout=30)
            ended = codec.decode(answer.content, Status)
            assert (ended.state, ended.generation) == (State.SUCCEEDED, 2)
            assert ended.replay_id == planned["id"]
            assert codec.encode(ended.result) == b'{"kind":"patched"}'
            result = f"/api/tasks/{ids[101]}/result"
            assert (await client.get(result, params={"generation": 1})).json() == {"n": 101, "kind": "odd"}
            assert (await client.get(result, params={"generation": 2})).json() == {"kind": "patched"}
            assert (await client.get(result, params={"generation": 3})).status_code == 404
            assert (await client.get(result, params={"generation": 0})).status_code == 400
            empty_topic(settings, Topics(settings.kafka.topic_prefix).results("past.echo"))
            gone = await client.get(result, params={"generation": 1})
            assert (gone.status_code, gone.json()["type"].rpartition("/")[2]) == (410, "result-gone")
            assert (await client.get(f"/api/replays/{planned['id']}/diff")).status_code == 409
            assert (await client.post(f"/api/replays/{planned['id']}/run")).status_code == 409
            assert (await client.get("/api/replays/nothing")).status_code == 404
    assert "Traceback" not in (tmp_path / "api.log").read_text()


@pytest.mark.long
@pytest.mark.timeout(400)
async def test_killed_at_five_random_moments_it_goes_on_and_repeats_nothing(settings: Settings, tmp_path: Path) -> None:
    count = 6_000
    with running_api(settings, tmp_path / "api.log", *TYPES, module=MODULE) as api:
        await api.ready()
        async with httpx.AsyncClient(base_url=api.address) as client:
            with running_worker(settings, tmp_path / "w.log", *TYPES, module=MODULE) as worker:
                await worker.ready()
                ids = await submitted(client, count)
                await outcomes(settings, "past.echo", count)
            made = await client.post(
                "/api/replays?wait=0", json={"select": {"types": ["past.echo"]}, "rate": 1_000}, timeout=30
            )
            replay_id = made.json()["id"]
            for _ in range(5):
                await told(client, replay_id, "running")
                await eventually_replayed(client, replay_id, random.randint(1, 900))
                os.kill(await runner_of(api), signal.SIGKILL)
            done = await told(client, replay_id, "done", within=120)
            assert done["counts"]["replayed"] == count
    lane = generations(settings, Priority.LOW)
    assert set(lane) == set(ids)
    assert {tuple(set(each)) for each in lane.values()} == {(2,)}
    # What lies there twice is marked, and few: it runs once.
    twice = sum(len(each) - 1 for each in lane.values())
    assert twice <= 5 * 4_000
    with running_worker(settings, tmp_path / "w2.log", *TYPES, module=MODULE) as worker:
        await worker.ready()

        def all_again() -> list[str]:
            ended = [codec.decode(record.value, Outcome) for record in outcome_records(settings, "past.echo")]
            again = [each.id for each in ended if each.generation == 2]
            assert set(again) == set(ids), len(set(again))
            return again

        ran = await eventually(all_again, within=120)
        assert len(ran) == count


async def eventually_replayed(client: httpx.AsyncClient, replay_id: str, more: int) -> None:
    """Wait until so many more are back."""
    before = (await client.get(f"/api/replays/{replay_id}")).json()["counts"]["replayed"]

    async def enough() -> bool:
        found = (await client.get(f"/api/replays/{replay_id}")).json()
        assert found["state"] == "done" or found["counts"]["replayed"] >= before + more, found["counts"]
        return True

    await eventually(enough, within=60)


async def test_pause_and_abort_take_effect_at_once(settings: Settings, tmp_path: Path) -> None:
    with running_api(settings, tmp_path / "api.log", *TYPES, module=MODULE) as api:
        await api.ready()
        async with httpx.AsyncClient(base_url=api.address) as client:
            with running_worker(settings, tmp_path / "w.log", *TYPES, module=MODULE) as worker:
                await worker.ready()
                await submitted(client, 2_000)
                await outcomes(settings, "past.echo", 2_000)
            made = await client.post("/api/replays", json={"select": {"types": ["past.echo"]}, "rate": 100}, timeout=30)
            replay_id = made.json()["id"]
            await told(client, replay_id, "running")
            await eventually_replayed(client, replay_id, 50)
            assert (await client.post(f"/api/replays/{replay_id}/pause")).status_code == 202
            paused = await told(client, replay_id, "paused")
            here = len(generations(settings, Priority.LOW))
            assert (await client.post(f"/api/replays/{replay_id}/run")).status_code == 202
            await eventually_replayed(client, replay_id, 50)
            assert paused["counts"]["replayed"] <= here
            assert (await client.delete(f"/api/replays/{replay_id}")).status_code == 202
            aborted = await told(client, replay_id, "aborted", within=10)
            lane = generations(settings, Priority.LOW)
            assert aborted["counts"]["replayed"] == len(lane) < 2_000
            assert {tuple(each) for each in lane.values()} == {(2,)}
            assert (await client.post(f"/api/replays/{replay_id}/run")).status_code == 409
            assert (await client.delete(f"/api/replays/{replay_id}")).status_code == 202
