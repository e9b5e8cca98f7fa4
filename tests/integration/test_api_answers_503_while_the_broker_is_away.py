"""While the broker is away nothing is accepted; once it is back everything goes on, and what was accepted is there."""

from pathlib import Path

import httpx

from laneway.kafka.broker import EmbeddedKafka
from schemas.settings import ApiSettings, KafkaSettings, Settings
from tests.support.api import free_port, running_api
from tests.support.waiting import eventually

BODY = {"type": "chat", "payload": {"message": "What is a lane?"}}
SCHEDULE = {"name": "daily", "cron": "0 0 * * *", "task": BODY}


async def test_no_202_without_a_broker(tmp_path: Path) -> None:
    with EmbeddedKafka(data_dir=tmp_path / "kafka", port=free_port(), brokers=1) as kafka:
        settings = Settings(
            data_dir=tmp_path / "data",
            kafka=KafkaSettings(bootstrap_servers=kafka.bootstrap_servers, partitions=2),
            api=ApiSettings(port=0, accept_timeout=1.5),
        )
        with running_api(settings, tmp_path / "api.log") as api:
            await api.ready()
            async with httpx.AsyncClient(base_url=api.address, timeout=20) as client:
                before = (await client.post("/api/tasks", json=BODY)).json()["id"]
                kafka.kill(1)
                for _ in range(3):
                    refused = await client.post("/api/tasks", json=BODY)
                    assert refused.status_code == httpx.codes.SERVICE_UNAVAILABLE
                    assert int(refused.headers["retry-after"]) >= 1
                    assert refused.headers["content-type"] == "application/problem+json"
                for asked in (client.post("/api/schedules", json=SCHEDULE), client.get("/api/schedules")):
                    assert (await asked).status_code == httpx.codes.SERVICE_UNAVAILABLE
                kafka.start_nodes(1)

                async def accepted() -> str | None:
                    answer = await client.post("/api/tasks", json=BODY)
                    return answer.json()["id"] if answer.status_code == httpx.codes.ACCEPTED else None

                async def scheduled() -> bool:
                    answer = await client.post("/api/schedules", json=SCHEDULE)
                    return answer.is_success

                after = await eventually(accepted, within=60)
                await eventually(scheduled, within=60)
                for task_id in (before, after):
                    found = await client.get(f"/api/tasks/{task_id}")
                    assert found.status_code == httpx.codes.OK, found.text
