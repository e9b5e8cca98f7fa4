"""Schedules over HTTP and by the command line: made, replaced, told on every instance, refused, fired and deleted."""

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from laneway.schedules import firing_id
from schemas import codec
from schemas.settings import Settings, environment_for
from schemas.task import Lane, Priority, Task
from schemas.topics import Topics
from tests.support.api import running_api
from tests.support.kafka import read_all
from tests.support.schedules import latest, put
from tests.support.source_tree import ROOT
from tests.support.waiting import eventually
from tests.support.workers import running_worker

pytestmark = pytest.mark.timeout(200)

CHAT = {"type": "chat", "payload": {"message": "What is a lane?"}}
DAILY = {"name": "daily", "cron": "30 2 * * *", "timezone": "Europe/Berlin", "task": CHAT}
EACH_SECOND = {"name": "tick", "cron": "* * * * * *", "task": CHAT}
REFUSED: list[tuple[dict[str, Any], int, str]] = [
    ({"cron": "61 * * * *"}, 422, "/cron"),
    ({"cron": "* * * *"}, 422, "/cron"),
    ({"cron": "0 0 31 2 *"}, 422, "/cron"),
    ({"cron": "* * */20 * 1L"}, 422, "never comes"),
    ({"cron": ""}, 422, "/cron"),
    ({"cron": 5}, 422, "/cron"),
    ({"timezone": "Mars/Olympus"}, 422, "/timezone"),
    ({"timezone": "../../etc/passwd"}, 422, "/timezone"),
    ({"name": "a/b"}, 422, "/name"),
    ({"name": ""}, 422, "/name"),
    ({"name": "x" * 101}, 422, "/name"),
    ({"missed": "some"}, 422, "/missed"),
    ({"overlap": "kill"}, 422, "/overlap"),
    ({"croon": "* * * * *"}, 422, "/croon"),
    ({"task": {"type": "emial", "payload": {}}}, 404, "did you mean 'email'"),
    ({"task": {"type": "chat", "payload": {"message": 5}}}, 422, "/task/payload/message"),
    ({"task": {**CHAT, "run_at": "2027-01-01T00:00:00Z"}}, 422, "/task/run_at"),
    ({"task": {**CHAT, "delay": 5}}, 422, "/task/delay"),
    ({"task": {**CHAT, "prority": "high"}}, 422, "/task/prority"),
    ({"task": {**CHAT, "payload": {"message": "x" * 300_000}}}, 413, "payload"),
]


async def test_a_schedule_is_made_replaced_and_deleted_and_every_instance_tells_it(
    settings: Settings, tmp_path: Path
) -> None:
    elsewhere = settings.model_copy(update={"data_dir": tmp_path / "elsewhere"})
    with running_api(settings, tmp_path / "one.log") as one, running_api(elsewhere, tmp_path / "two.log") as two:
        await one.ready()
        await two.ready()
        async with httpx.AsyncClient(base_url=one.address) as here, httpx.AsyncClient(base_url=two.address) as there:
            made = await here.post("/api/schedules", json=DAILY)
            assert (made.status_code, made.headers["location"]) == (201, "/api/schedules/daily")
            assert made.json()["missed"] == "one"
            assert made.json()["overlap"] == "allow"
            assert made.json()["paused"] is False
            assert made.json()["last"] is None
            upcoming = [datetime.fromisoformat(at) for at in made.json()["next"]]
            assert len(upcoming) == 3
            assert upcoming == sorted(upcoming)
            assert upcoming[0] > datetime.now(UTC)
            for api in (here, there):
                assert (await api.get("/api/schedules/daily")).json() == made.json()
                assert (await api.get("/api/schedules")).json() == {"schedules": [made.json()]}

            again = await there.post("/api/schedules", json=DAILY)
            assert again.status_code == 200
            assert again.json()["defined_at"] == made.json()["defined_at"]
            paused = await there.post("/api/schedules", json={**DAILY, "paused": True})
            assert paused.status_code == 200
            assert paused.json()["defined_at"] > made.json()["defined_at"]
            assert (await here.get("/api/schedules/daily")).json()["next"] == []

            await here.post("/api/schedules", json={**EACH_SECOND, "name": "another"})
            names = [each["name"] for each in (await there.get("/api/schedules")).json()["schedules"]]
            assert names == ["another", "daily"]
            assert (await there.delete("/api/schedules/daily")).status_code == 204
            gone = [await here.get("/api/schedules/daily"), await here.delete("/api/schedules/daily")]
            assert [answer.status_code for answer in gone] == [404, 404]
            assert gone[0].headers["content-type"] == "application/problem+json"


async def test_every_refusal_says_where_and_why(settings: Settings, tmp_path: Path) -> None:
    with running_api(settings, tmp_path / "api.log") as api:
        await api.ready()
        async with httpx.AsyncClient(base_url=api.address) as client:
            for change, status, said in REFUSED:
                answer = await client.post("/api/schedules", json={**DAILY, **change})
                assert answer.headers["content-type"] == "application/problem+json", change
                assert answer.status_code == status, (change, answer.text)
                assert said in answer.text, (change, answer.text)
            for body in (b"", b"{", b"\xff", b'{"task": {"payload": ' + b"[" * 100_000):
                assert (await client.post("/api/schedules", content=body)).status_code == 400
            assert (await client.post("/api/schedules", content=b"[]")).status_code == 422
            assert (await client.get("/api/schedules")).json() == {"schedules": []}
            # What others put onto the topic spoils nothing.
            put(settings, "garbage", b"\xff{")
            put(settings, "bad-cron", b'{"name": "bad-cron", "cron": "x"}')
            assert (await client.get("/api/schedules")).json() == {"schedules": []}
            assert (await client.post("/api/schedules", json=DAILY)).status_code == 201
    assert "Traceback" not in (tmp_path / "api.log").read_text()


async def test_it_fires_tells_the_outcome_and_stops_when_deleted(settings: Settings, tmp_path: Path) -> None:
    with (
        running_api(settings, tmp_path / "api.log") as api,
        running_worker(settings, tmp_path / "w.log", "chat") as worker,
    ):
        await api.ready()
        await worker.ready()
        async with httpx.AsyncClient(base_url=api.address) as client:
            assert (await client.post("/api/schedules", json=EACH_SECOND)).status_code == 201

            async def succeeded() -> Any:
                last = (await client.get("/api/schedules/tick")).json()["last"]
                return last if last and last["state"] == "succeeded" else None

            last = await eventually(succeeded, within=30)
            assert last["task_id"] == firing_id("tick", datetime.fromisoformat(last["at"]))
            status = (await client.get(f"/api/tasks/{last['task_id']}")).json()
            assert (status["state"], status["type"]) == ("succeeded", "chat")
            assert (await client.delete("/api/schedules/tick")).status_code == 204
            deleted_at = datetime.now(UTC)
            # Another one fires on: so the worker had its time.
            await client.post("/api/schedules", json={**EACH_SECOND, "name": "tock"})

            async def fired_later() -> bool:
                last = (await client.get("/api/schedules/tock")).json()["last"]
                return bool(last) and datetime.fromisoformat(last["at"]) > deleted_at + timedelta(seconds=4)

            await eventually(fired_later, within=30)
    lane = Topics(settings.kafka.topic_prefix).lane(Lane("chat", Priority.NORMAL))
    tasks = [codec.decode(record.value, Task) for record in read_all(settings.bootstrap_servers, lane)]
    late = [task.run_at for task in tasks if task.schedule == "tick" and task.run_at and task.run_at > deleted_at]
    assert [at for at in late if at > deleted_at + timedelta(seconds=1)] == []
    assert any(task.schedule == "tock" for task in tasks)
    assert (latest(settings, "tick"), latest(settings, "tick", "fired")) == (None, None)


async def test_the_command_line_adds_lists_and_removes(settings: Settings, tmp_path: Path) -> None:
    with running_api(settings, tmp_path / "api.log") as api:
        await api.ready()

        def laneway(*words: str) -> subprocess.CompletedProcess[str]:
            command = [sys.executable, "-m", "laneway.cli", "schedule", *words, "--api", api.address]
            environment = {**environment_for(settings), "PYTHONPATH": str(ROOT)}
            return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=30)

        message = json.dumps(CHAT["payload"])
        added = laneway(
            *("add", "daily", "30 2 * * *", "chat", message, "--timezone", "Europe/Berlin", "--missed", "skip"),
            *("--overlap", "skip", "--priority", "high", "--label", "tenant=acme", "--timeout", "20", "--json"),
        )
        assert added.returncode == 0, added.stderr
        told = json.loads(added.stdout)
        assert (told["timezone"], told["missed"], told["overlap"]) == ("Europe/Berlin", "skip", "skip")
        assert told["task"] == {
            **CHAT,
            "priority": "high",
            "timeout": 20.0,
            "labels": {"tenant": "acme"},
        }
        assert "daily" in laneway("add", "daily", "30 2 * * *", "chat", message, "--paused").stdout
        listed = laneway("list")
        assert ["daily" in listed.stdout, "paused" in listed.stdout, "chat.normal" in listed.stdout] == [True] * 3
        assert [each["name"] for each in json.loads(laneway("list", "--json").stdout)["schedules"]] == ["daily"]
        bad = laneway("add", "bad", "61 * * * *", "chat", message)
        assert (bad.returncode, "minute" in bad.stderr) == (1, True)
        assert laneway("remove", "daily").returncode == 0
        assert laneway("remove", "daily").returncode == 1
        assert laneway("list").stdout.strip() == "no schedules"
