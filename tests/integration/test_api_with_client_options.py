"""With options of librdkafka's set, the API appends by librdkafka, and everything it promises holds."""

from pathlib import Path

import httpx

from schemas.settings import Settings
from schemas.topics import Topics
from tests.support.api import running_api
from tests.support.kafka import read_all

BODY = {"type": "chat", "payload": {"message": "What is a lane?"}}


async def test_tasks_are_accepted_and_found(settings: Settings, tmp_path: Path) -> None:
    kafka = settings.kafka.model_copy(update={"client_options": {"client.rack": "here"}})
    with running_api(settings.model_copy(update={"kafka": kafka}), tmp_path / "api.log") as api:
        await api.ready()
        async with httpx.AsyncClient(base_url=api.address, timeout=10) as client:
            one = await client.post("/api/tasks", json=BODY)
            many = await client.post("/api/tasks/batch", json=[BODY] * 30)
            keyed = [await client.post("/api/tasks", json=BODY, headers={"idempotency-key": "k"}) for _ in range(2)]
            assert [one.status_code, many.status_code] == [httpx.codes.ACCEPTED] * 2
            assert [answer.status_code for answer in keyed] == [httpx.codes.ACCEPTED, httpx.codes.OK]
            ids = {one.json()["id"], keyed[0].json()["id"], *(task["id"] for task in many.json()["tasks"])}
            for task_id in ids:
                assert (await client.get(f"/api/tasks/{task_id}")).status_code == httpx.codes.OK
    events = read_all(settings.bootstrap_servers, Topics(settings.kafka.topic_prefix).events)
    assert {(record.key or b"").decode() for record in events} == ids
    assert {(record.header("ce_type"), len(record.headers)) for record in events} == {(b"laneway.event", 7)}
