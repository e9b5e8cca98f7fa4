"""The API is killed while tasks come in: every accepted task is found afterwards, by this API and by another one."""

import asyncio
from pathlib import Path

import httpx

from schemas.settings import ApiSettings, Settings
from tests.support.api import free_port, running_api

BODY = {"type": "chat", "payload": {"message": "What is a lane?"}}


async def test_every_accepted_task_is_found(settings: Settings, tmp_path: Path) -> None:
    fixed = settings.model_copy(update={"api": ApiSettings(port=free_port(), accept_timeout=5)})
    other = settings.model_copy(update={"data_dir": tmp_path / "other"})
    accepted: list[str] = []
    with running_api(fixed, tmp_path / "first.log") as first:
        await first.ready()
        async with httpx.AsyncClient(base_url=first.address, timeout=10) as client:

            async def submit_until_it_is_gone() -> None:
                while True:
                    try:
                        answer = await client.post("/api/tasks", json=BODY)
                    except httpx.TransportError:
                        return
                    assert answer.status_code == httpx.codes.ACCEPTED
                    accepted.append(answer.json()["id"])
                    assert (await client.get(answer.headers["location"])).status_code == httpx.codes.OK
                    if len(accepted) >= 200 and first.process.poll() is None:
                        first.kill()

            await asyncio.gather(*(submit_until_it_is_gone() for _ in range(4)), return_exceptions=True)
    assert len(accepted) >= 200
    with running_api(fixed, tmp_path / "second.log") as again, running_api(other, tmp_path / "other.log") as elsewhere:
        await again.ready()
        await elsewhere.ready()
        for api in (again, elsewhere):
            async with httpx.AsyncClient(base_url=api.address, timeout=10) as client:
                answers = [await client.get(f"/api/tasks/{task_id}") for task_id in accepted]
            assert {answer.status_code for answer in answers} == {httpx.codes.OK}
