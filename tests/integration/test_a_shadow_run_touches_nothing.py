"""A shadow replay runs handlers and tells what would end otherwise; tasks, results, dead letters stay as they are."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from schemas import codec
from schemas.outcome import Outcome
from schemas.settings import Settings, environment_for
from schemas.task import Lane, Priority
from schemas.topics import Topics
from tests.support.api import running_api
from tests.support.kafka import Record, empty_topic, read_all
from tests.support.source_tree import ROOT
from tests.support.waiting import eventually
from tests.support.workers import outcomes, running_worker

pytestmark = pytest.mark.timeout(180)

MODULE = "tests.support.shadow_handlers"
TYPE = "past.mended"
COUNT = 100


def all_but_shadows(settings: Settings) -> list[Record]:
    """What lies in every topic that tells of tasks."""
    topics = Topics(settings.kafka.topic_prefix)
    names = (topics.status, topics.events, topics.results(TYPE), topics.dead_letters(TYPE), topics.suspects)
    return [record for name in names for record in read_all(settings.bootstrap_servers, name)]


def diff_by_command(settings: Settings, replay_id: str, address: str) -> "subprocess.CompletedProcess[str]":
    """What `laneway replay diff` says."""
    command = [sys.executable, "-m", "laneway.cli", "replay", "diff", replay_id, "--exit-code", "--api", address]
    environment = {**environment_for(settings), "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)


@pytest.mark.long
async def test_what_would_end_otherwise_is_told_and_nothing_else_changes(settings: Settings, tmp_path: Path) -> None:
    topics = Topics(settings.kafka.topic_prefix)
    with (
        running_api(settings, tmp_path / "api.log", TYPE, module=MODULE) as api,
        running_worker(settings, tmp_path / "w.log", TYPE, module=MODULE) as worker,
    ):
        await api.ready()
        await worker.ready()
        async with httpx.AsyncClient(base_url=api.address, timeout=30) as client:
            tasks = [
                {"type": TYPE, "payload": {"n": n}, "ordering_key": f"k{n % 3}", "labels": {"n": str(n)}}
                for n in range(COUNT)
            ]
            ids = [each["id"] for each in (await client.post("/api/tasks/batch", json=tasks)).json()["tasks"]]
            await outcomes(settings, TYPE, COUNT)

            async def settled() -> list[Record]:
                found = (await client.get("/api/tasks", params={"state": "succeeded", "limit": 1000})).json()
                assert len(found["tasks"]) == COUNT
                return all_but_shadows(settings)

            before = await eventually(settled, within=30)
            asked = {"select": {"types": [TYPE]}, "shadow": True, "rate": 0}
            made = (await client.post("/api/replays", json=asked)).json()
            at = f"/api/replays/{made['id']}"

            async def compared() -> Any:
                assert (await client.get(at)).json()["state"] == "done"
                found = (await client.get(f"{at}/diff", params={"limit": 5})).json()
                assert found["counts"]["missing_shadow"] == 0, found["counts"]
                return found

            diff = await eventually(compared, within=60)
            assert diff["counts"] == {"same": 80, "different": 20, "missing_shadow": 0, "missing_before": 0}
            assert (len(diff["differences"]), diff["complete"]) == (5, False)
            lines = (await client.get(f"{at}/diff", headers={"accept": "application/x-ndjson"})).text.splitlines()
            *differences, last = [json.loads(line) for line in lines]
            assert last["counts"] == diff["counts"]
            told = {each["id"]: each for each in differences}
            assert set(told) == {task_id for n, task_id in enumerate(ids) if n % 10 in (3, 7)}
            worse, other = told[ids[13]], told[ids[17]]
            assert worse["differs"] == ["state", "result", "error"]
            assert worse["shadow"]["state"] == "dead_lettered"
            assert worse["shadow"]["error"] == {"type": "KeyError", "message": "'only now'"}
            assert other["differs"] == ["result"]
            assert other["diff"] == ["~ /result/n: 17 → -17"]
            assert (other["before"]["result"], other["shadow"]["result"]) == ({"n": 17}, {"n": -17})

            # Each once, in its place, and nothing else anywhere.
            shadows = read_all(settings.bootstrap_servers, topics.shadows)
            ended = [codec.decode(record.value, Outcome) for record in shadows]
            assert sorted(each.id for each in ended) == sorted(ids)
            assert {(each.generation, each.attempt, each.replay_id) for each in ended} == {(1, 1, made["id"])}
            assert all_but_shadows(settings) == before

            # A later replay of the lane does not take shadow runs for tasks.
            lane = topics.lane(Lane(TYPE, Priority.LOW))
            assert len(read_all(settings.bootstrap_servers, lane)) == COUNT
            select = {"types": [TYPE], "priorities": ["low"]}
            plan = (await client.post("/api/replays?wait=20", json={"select": select, "dry_run": True})).json()["plan"]
            assert (plan["records"], plan["selected"], plan["passed_over"]) == (COUNT, 0, {})

        ran = diff_by_command(settings, made["id"], api.address)
        assert ran.returncode == 1, ran.stderr
        assert f"{ids[17]}  {TYPE}, generation 1: result\n  ~ /result/n: 17 → -17\n" in ran.stdout
        assert ran.stdout.endswith("80 the same, 20 different\n")

        async with httpx.AsyncClient(base_url=api.address, timeout=30) as client:
            empty_topic(settings, topics.results(TYPE))
            gone = (await client.get(f"{at}/diff")).json()
            assert gone["counts"] == {"same": 0, "different": 0, "missing_shadow": 0, "missing_before": COUNT}
    assert "Traceback" not in (tmp_path / "api.log").read_text()
    assert "Traceback" not in (tmp_path / "w.log").read_text()
