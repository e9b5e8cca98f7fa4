"""A client says which try it is: the first one appends at once, a later one completes what the first left undone."""

from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from schemas.codec import decode
from schemas.headers import REPEATED, timestamp
from schemas.settings import Settings
from schemas.status import Status
from schemas.task import Lane, Priority
from schemas.topics import Topics, partition_of
from tests.support.api import RunningApi, running_api
from tests.support.kafka import Record, produce_raw, read_all
from tests.support.workers import outcomes, running_worker

BODY: Final[dict[str, Any]] = {"type": "chat", "payload": {"message": "What is a lane?"}}
LANE: Final = Lane("chat", Priority.NORMAL)


async def _ask(api: RunningApi, key: str, tries: object, body: dict[str, Any] = BODY) -> httpx.Response:
    headers = {"Idempotency-Key": key} | ({} if tries is None else {"Laneway-Try": str(tries)})
    async with httpx.AsyncClient(base_url=api.address, timeout=20) as client:
        return await client.post("/api/tasks", json=body, headers=headers)


def _records(settings: Settings, topic: str, task_id: str) -> list[Record]:
    return [record for record in read_all(settings.bootstrap_servers, topic) if record.key == task_id.encode()]


async def test_a_later_try_finds_what_the_first_made_on_another_instance(settings: Settings, tmp_path: Path) -> None:
    other = settings.model_copy(update={"data_dir": tmp_path / "other"})
    with running_api(settings, tmp_path / "one.log") as one, running_api(other, tmp_path / "two.log") as two:
        await one.ready()
        await two.ready()
        first = await _ask(one, "k", 1)
        again = [await _ask(two, "k", 2), await _ask(one, "k", 3), await _ask(one, "k", 1), await _ask(two, "k", None)]
        differs = await _ask(two, "k", 2, {**BODY, "priority": "low"})
    assert first.status_code == httpx.codes.ACCEPTED
    assert [each.status_code for each in again] == [httpx.codes.OK] * 4
    assert {each.json()["id"] for each in again} == {first.json()["id"]}
    assert differs.status_code == httpx.codes.CONFLICT


@pytest.mark.long
async def test_a_status_without_its_task_gets_it_with_the_next_try(settings: Settings, tmp_path: Path) -> None:
    with running_api(settings, tmp_path / "api.log") as api:
        await api.ready()
        made = (await _ask(api, "k", 1)).json()
        (status,) = _records(settings, Topics(settings.kafka.topic_prefix).status, made["id"])
    # As after a first try that was given up between the two: only the status comes into another log.
    kafka = settings.kafka.model_copy(update={"topic_prefix": f"{settings.kafka.topic_prefix}again."})
    settings = settings.model_copy(update={"kafka": kafka, "data_dir": tmp_path / "again"})
    topics = Topics(kafka.topic_prefix)
    number = partition_of(made["id"], kafka.partitions)
    with running_api(settings, tmp_path / "next.log") as api:
        await api.ready()
        produce_raw(
            settings.bootstrap_servers, topics.status, [status.value], key=made["id"].encode(), partition=number
        )
        assert (await _ask(api, "k", None)).json()["id"] == made["id"]
        assert not _records(settings, topics.lane(LANE), made["id"]), "a key of the caller's own is taken as it was"
        assert (await _ask(api, "k", 2)).status_code == httpx.codes.OK
        (task,) = _records(settings, topics.lane(LANE), made["id"])
        assert task.header(REPEATED) == timestamp(decode(status.value, Status).created_at)
        with running_worker(settings, tmp_path / "worker.log", "chat"):
            found = await outcomes(settings, "chat", 1)
        assert found[made["id"]].state == "succeeded"


async def test_a_try_that_is_no_number_is_refused(settings: Settings, tmp_path: Path) -> None:
    with running_api(settings, tmp_path / "api.log") as api:
        await api.ready()
        for tries in ("0", "first", "-1", "1.5", "9" * 5_000):
            assert (await _ask(api, "k", tries)).status_code == httpx.codes.BAD_REQUEST, tries[:5]
