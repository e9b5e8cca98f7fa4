"""Dead letters are grouped by error, shown and redriven: one class by filter, the others untouched, and never twice."""

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
from schemas.task import Lane, Priority, Task
from schemas.topics import Topics
from tests.support.api import running_api
from tests.support.kafka import produce_raw, read_all
from tests.support.source_tree import ROOT
from tests.support.waiting import eventually
from tests.support.workers import outcome_records, outcomes, running_worker

pytestmark = [pytest.mark.long, pytest.mark.timeout(240)]

MODULE = "tests.support.replay_handlers"
TYPES = ("past.echo", "past.failing")
EACH = 60


def counts(page: Any) -> dict[str, tuple[int, int]]:
    """By class of the error: how many there are, and how many can be redriven."""
    return {group["error"]: (group["count"], group["open"]) for group in page["groups"]}


async def test_of_ten_thousand_one_class_is_redriven_once_and_no_other(settings: Settings, tmp_path: Path) -> None:
    topics = Topics(settings.kafka.topic_prefix)
    # Nothing but failures would hold the lane, which is not what this is about.
    unbounded = settings.worker.model_copy(update={"dead_letter_budget": 0})
    settings = settings.model_copy(update={"worker": unbounded})
    parts = {"reject": 4_000, "value": 3_000, "key": 3_000}
    tasks = [
        {"type": "past.failing", "payload": {"error": error, "n": n}}
        for error, count in parts.items()
        for n in range(count)
    ]
    with (
        running_api(settings, tmp_path / "api.log", *TYPES, module=MODULE) as api,
        running_worker(settings, tmp_path / "w.log", *TYPES, module=MODULE) as worker,
    ):
        await api.ready()
        await worker.ready()
        async with httpx.AsyncClient(base_url=api.address, timeout=60) as client:
            ids = [each["id"] for each in (await client.post("/api/tasks/batch", json=tasks)).json()["tasks"]]
            meant = set(ids[4_000:7_000])
            await outcomes(settings, "past.failing", len(tasks), within=120)

            async def open_ones() -> dict[str, tuple[int, int]]:
                return counts((await client.get("/api/dlq", params={"type": "past.failing", "limit": 1})).json())

            async def known(value: tuple[int, int]) -> bool:
                assert await open_ones() == {"Reject": (4_000,) * 2, "ValueError": value, "KeyError": (3_000,) * 2}
                return True

            def redriven() -> list[str]:
                lane = topics.lane(Lane("past.failing", Priority.LOW))
                return [codec.decode(each.value, Task).id for each in read_all(settings.bootstrap_servers, lane)]

            async def redrive() -> Any:
                body = {"select": {"types": ["past.failing"], "error": "ValueError"}, "rate": 0}
                answer = await client.post("/api/dlq/redrive", json=body)
                assert answer.status_code == 202, answer.text

                async def done() -> Any:
                    found = (await client.get(f"/api/replays/{answer.json()['id']}")).json()
                    assert found["state"] == "done", found
                    return found["counts"]

                return await eventually(done, within=60)

            await eventually(lambda: known((3_000, 3_000)), within=60)
            assert (await redrive())["replayed"] == 3_000
            assert sorted(redriven()) == sorted(meant)
            await eventually(lambda: known((3_000, 0)), within=60)
            again = await redrive()
            assert (again["replayed"], again["passed_over"]) == (0, {"superseded": 3_000})
            assert sorted(redriven()) == sorted(meant)
            ended = [codec.decode(record.value, Outcome) for record in outcome_records(settings, "past.failing")]
            assert {each.id for each in ended if each.generation == 2} == meant
            assert len(ended) == len(tasks) + 3_000


async def test_one_class_of_errors_is_redriven_and_a_second_time_nothing(settings: Settings, tmp_path: Path) -> None:
    dead = Topics(settings.kafka.topic_prefix).dead_letters("past.failing")
    with (
        running_api(settings, tmp_path / "api.log", *TYPES, module=MODULE) as api,
        running_worker(settings, tmp_path / "w.log", *TYPES, module=MODULE) as worker,
    ):
        await api.ready()
        await worker.ready()
        async with httpx.AsyncClient(base_url=api.address, timeout=30) as client:
            tasks = [
                {"type": "past.failing", "payload": {"error": error, "n": n}}
                for error in ("reject", "value", "key")
                for n in range(EACH)
            ]
            answer = await client.post("/api/tasks/batch", json=tasks)
            ids = [each["id"] for each in answer.json()["tasks"]]
            await outcomes(settings, "past.failing", len(tasks))
            produce_raw(settings.bootstrap_servers, dead, [b"\xffno task"])

            async def all_there() -> Any:
                page = (await client.get("/api/dlq", params={"type": "past.failing", "limit": 1000})).json()
                assert sum(group["count"] for group in page["groups"]) == len(tasks) + 1, page["groups"]
                return page

            page = await eventually(all_there, within=30)
            assert page["complete"] is True
            assert counts(page) == {
                "Reject": (EACH, EACH),
                "ValueError": (EACH, EACH),
                "KeyError": (EACH, EACH),
                None: (1, 0),
            }
            odd = next(letter for letter in page["letters"] if letter["id"] is None)
            shown = (await client.get(f"/api/dlq/{odd['position']}")).json()
            assert "no task" in shown["value"]
            one = next(letter for letter in page["letters"] if letter["id"] == ids[0])
            shown = (await client.get(f"/api/dlq/{one['position']}")).json()
            assert shown["payload"] == {"error": "reject", "n": 0}
            assert shown["reason"] == "rejected"
            assert shown["errors"][0]["type"] == "Reject"
            assert shown["headers"]["laneway-dlq-source"] == shown["source"]
            for at in (f"{dead}-0@99999", "laneway.status-0@0", "nowhere"):
                assert (await client.get(f"/api/dlq/{at}")).status_code in (400, 404)
            assert (await client.get("/api/dlq", params={"color": "red"})).status_code == 400

            async def redriven(select: Any, **more: Any) -> Any:
                answer = await client.post("/api/dlq/redrive", json={"select": select, "rate": 0, **more})
                assert answer.status_code == 202, answer.text

                async def done() -> Any:
                    found = (await client.get(f"/api/replays/{answer.json()['id']}")).json()
                    assert found["state"] == "done", found
                    return found

                return await eventually(done, within=60)

            select = {"types": ["past.failing"], "error": "ValueError"}
            done = await redriven(select)
            assert done["counts"]["replayed"] == EACH
            await outcomes(settings, "past.failing", len(tasks))

            async def gone_on() -> Any:
                page = (await client.get("/api/dlq", params={"type": "past.failing"})).json()
                assert counts(page)["ValueError"] == (EACH, 0), page["groups"]
                return page

            page = await eventually(gone_on, within=30)
            assert counts(page)["Reject"] == counts(page)["KeyError"] == (EACH, EACH)
            again = await redriven(select)
            assert again["counts"]["replayed"] == 0
            assert again["counts"]["passed_over"] == {"superseded": EACH, "undecodable": 1}
            status = (await client.get(f"/api/tasks/{ids[EACH]}?wait=10")).json()
            assert (status["state"], status["generation"], status["result"]) == ("succeeded", 2, 2)
            untouched = (await client.get(f"/api/tasks/{ids[0]}")).json()
            assert (untouched["state"], untouched["generation"]) == ("dead_lettered", 1)

            chosen = await redriven({"ids": ids[:3]}, patch={"n": 7})
            assert chosen["counts"]["replayed"] == 3

        def laneway(*words: str, code: int = 0) -> Any:
            command = [sys.executable, "-m", "laneway.cli", *words, "--api", api.address, "--json"]
            environment = {**environment_for(settings), "PYTHONPATH": str(ROOT)}
            ran = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
            assert ran.returncode == code, ran.stderr
            return json.loads(ran.stdout)

        assert counts(laneway("dlq", "list", "--types", "past.failing"))["KeyError"] == (EACH, EACH)
        assert laneway("dlq", "show", one["position"])["payload"] == {"error": "reject", "n": 0}
        plan = laneway("replay", "plan", "--types", "past.failing", "--states", "dead_lettered", "--where", "n < `5`")
        assert plan["plan"]["selected"] == 5 + 2
        (tmp_path / "plan.json").write_text(json.dumps(plan))
        ran = laneway("replay", "run", f"@{tmp_path / 'plan.json'}")
        assert (ran["state"], ran["counts"]["replayed"]) == ("done", 7)
        assert laneway("dlq", "redrive", "--types", "past.failing", "--error", "nothing")["counts"]["replayed"] == 0
        keys = ("dlq", "redrive", "--types", "past.failing", "--error", "KeyError")
        canary = ("--canary", "5", "--success", "0.8", "--within", "60")
        failed = laneway(*keys, *canary, "--patch", '{"always": true}', code=1)
        assert (failed["state"], failed["counts"]["replayed"]) == ("failed", 5)
        assert "canary failed" in failed["reason"]
        passed = laneway(*keys, *canary, "--patch", '{"always": null}')
        assert (passed["state"], passed["counts"]["replayed"]) == ("done", EACH - 5)
        assert ran["id"] in [each["id"] for each in laneway("replay", "status")["replays"]]
    assert "Traceback" not in (tmp_path / "api.log").read_text()
