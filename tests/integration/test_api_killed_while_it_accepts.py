"""The API is killed between taking tasks and answering: a client that asks again with its key gets one task."""

import asyncio
from pathlib import Path

import httpx
import pytest

from schemas.settings import ApiSettings, Settings
from schemas.task import Lane, Priority
from schemas.topics import Topics
from tests.support.api import free_port, running_api
from tests.support.kafka import read_all

pytestmark = pytest.mark.long

BODY = {"type": "chat", "payload": {"message": "What is a lane?"}}
KEYS = [f"order-{number}" for number in range(120)]


async def test_one_task_for_each_key(settings: Settings, tmp_path: Path) -> None:
    fixed = settings.model_copy(update={"api": ApiSettings(port=free_port(), accept_timeout=5)})
    answered: dict[str, str] = {}
    unanswered: set[str] = set()
    with running_api(fixed, tmp_path / "first.log") as api:
        await api.ready()
        async with httpx.AsyncClient(base_url=api.address, timeout=10) as client:

            async def submit(key: str) -> None:
                try:
                    answer = await client.post("/api/tasks", json=BODY, headers={"idempotency-key": key})
                except httpx.TransportError:
                    unanswered.add(key)
                    return
                assert answer.status_code == httpx.codes.ACCEPTED, answer.text
                answered[key] = answer.json()["id"]
                if len(answered) == 10:
                    api.kill()

            await asyncio.gather(*(submit(key) for key in KEYS))
    assert len(answered) >= 10
    assert unanswered
    with running_api(fixed, tmp_path / "second.log") as api:
        await api.ready()
        async with httpx.AsyncClient(base_url=api.address, timeout=10) as client:
            again = [await client.post("/api/tasks", json=BODY, headers={"idempotency-key": key}) for key in KEYS]
            for key, answer in zip(KEYS, again, strict=True):
                if key in answered:
                    assert (answer.status_code, answer.json()["id"]) == (httpx.codes.OK, answered[key])
                else:
                    assert answer.status_code in {httpx.codes.OK, httpx.codes.ACCEPTED}
            ids = [answer.json()["id"] for answer in again]
            assert len(set(ids)) == len(KEYS)
            assert len((await client.get("/api/tasks", params={"limit": 1000})).json()["tasks"]) == len(KEYS)
    lane = Topics(settings.kafka.topic_prefix).lane(Lane("chat", Priority.NORMAL))
    lying = [record.key for record in read_all(settings.bootstrap_servers, lane)]
    assert {key.decode() for key in lying if key is not None} == set(ids)
