"""A worker that is killed among shadow runs loses none: others run them again, and each is compared once."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from schemas import codec
from schemas.outcome import Outcome
from schemas.settings import Settings
from schemas.status import State
from schemas.topics import Topics
from tests.support.api import running_api
from tests.support.kafka import read_all
from tests.support.waiting import eventually
from tests.support.workers import outcomes, running_worker

pytestmark = [pytest.mark.long, pytest.mark.timeout(240)]

MODULE = "tests.support.shadow_handlers"
TYPE = "past.mended"
COUNT = 3_000


async def test_what_it_had_not_told_is_run_by_another(settings: Settings, tmp_path: Path) -> None:
    topics = Topics(settings.kafka.topic_prefix)

    def shadows() -> list[Outcome]:
        return [codec.decode(each.value, Outcome) for each in read_all(settings.bootstrap_servers, topics.shadows)]

    with running_api(settings, tmp_path / "api.log", TYPE, module=MODULE) as api:
        await api.ready()
        async with httpx.AsyncClient(base_url=api.address, timeout=30) as client:
            tasks = [{"type": TYPE, "payload": {"n": n}} for n in range(COUNT)]
            with running_worker(settings, tmp_path / "w1.log", TYPE, module=MODULE) as worker:
                await worker.ready()
                ids = [each["id"] for each in (await client.post("/api/tasks/batch", json=tasks)).json()["tasks"]]
                await outcomes(settings, TYPE, COUNT)
                asked = {"select": {"types": [TYPE]}, "shadow": True, "rate": 500}
                made = (await client.post("/api/replays", json=asked)).json()
                await eventually(lambda: len(shadows()) > COUNT / 5, within=60, what="the first shadows")
                worker.kill()
            before = shadows()
            assert len(before) < COUNT
            with running_worker(settings, tmp_path / "w2.log", TYPE, module=MODULE) as worker:
                await worker.ready()

                async def compared() -> Any:
                    diff = (await client.get(f"/api/replays/{made['id']}/diff", params={"limit": 1})).json()
                    assert (diff["state"], diff["counts"]["missing_shadow"]) == ("done", 0), diff
                    return diff["counts"]

                counts = await eventually(compared, within=120)
            assert counts == {
                "same": COUNT * 8 // 10,
                "different": COUNT * 2 // 10,
                "missing_shadow": 0,
                "missing_before": 0,
            }
            assert {each.id for each in shadows()} == set(ids)
            page = (await client.get("/api/tasks", params={"state": State.SUCCEEDED, "limit": 1000})).json()
            assert {(each["attempt"], each["generation"]) for each in page["tasks"]} == {(1, 1)}
    ended = [codec.decode(each.value, Outcome) for each in read_all(settings.bootstrap_servers, topics.results(TYPE))]
    assert len(ended) == COUNT
