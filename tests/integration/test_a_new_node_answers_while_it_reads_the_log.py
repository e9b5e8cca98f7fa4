"""An API on a new node reads the statuses that there are; what it answers meanwhile is true, and then it knows all."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Final

import msgspec
import pytest
from confluent_kafka import Producer

from schemas.codec import encode
from schemas.settings import Settings
from schemas.status import State
from schemas.topics import Topics, partition_of
from tests.bench.view.filling import statuses
from tests.support.api import running_api
from tests.support.connection import Connection
from tests.support.kafka import apply_topics

READERS: Final = 4
OK, UNAVAILABLE = 200, 503


def fill(settings: Settings, tasks: int) -> list[str]:
    """Put statuses of so many tasks into the log, each queued and then as it is; answers some of their ids."""
    producer = Producer(
        {
            "bootstrap.servers": settings.bootstrap_servers,
            "linger.ms": 20,
            "queue.buffering.max.messages": 1_000_000,
            "compression.type": "lz4",
        }
    )
    topic = Topics(settings.kafka.topic_prefix).status
    ids = []
    source = statuses(tasks, seed=11)
    while batch := list(islice(source, 5_000)):
        queued = [
            msgspec.structs.replace(each, state=State.QUEUED, attempt=0, error=None, errors=(), started_at=None)
            for each in batch
        ]
        for each in (*queued, *batch):
            number = partition_of(each.id, settings.kafka.partitions)
            producer.produce(topic, encode(each), each.id, number)
        assert producer.flush(60) == 0
        ids += [each.id for each in batch[:: max(1, tasks // 1_000)]]
    return ids


@pytest.mark.timeout(900)
@pytest.mark.parametrize("tasks", [10_000, pytest.param(1_000_000, marks=pytest.mark.long)])
async def test_it_does(
    settings: Settings, tmp_path: Path, record_property: Callable[[str, object], None], tasks: int
) -> None:
    apply_topics(settings, ("chat", "data", "email", "file"))
    ids = await asyncio.to_thread(fill, settings, tasks)
    answers: Counter[int] = Counter()
    chance = random.Random(3)
    oldest = ids[: len(ids) // 10]
    with running_api(settings, tmp_path / "api.log") as api:
        began = time.monotonic()

        async def ready() -> float:
            connection = Connection(api.port)
            while True:
                try:
                    status, _ = await connection.ask("GET", "/readyz")
                except (OSError, EOFError):
                    status = 0
                if status == OK:
                    connection.close()
                    return time.monotonic() - began
                await asyncio.sleep(0.05)

        async def read() -> None:
            connection = Connection(api.port)
            try:
                while True:
                    try:
                        status, _ = await connection.ask("GET", f"/api/tasks/{chance.choice(oldest)}")
                    except (OSError, EOFError):
                        await asyncio.sleep(0.05)
                        continue
                    answers[status] += 1
                    await asyncio.sleep(0.002)
            finally:
                connection.close()

        readers = [asyncio.create_task(read()) for _ in range(READERS)]
        took = await ready()
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)
        connection = Connection(api.port)
        for task_id in ids:
            status, body = await connection.ask("GET", f"/api/tasks/{task_id}")
            assert (status, msgspec.json.decode(body)["id"]) == (OK, task_id)
        connection.close()
    told = {
        "tasks": tasks,
        "seconds": round(took, 1),
        "records_per_s": round(2 * tasks / took),
        "answers": dict(answers),
    }
    record_property("new_node", told)
    print(f"\nnew node: {told}")  # noqa: T201  (with -s, and in a report of a failure)
    assert set(answers) <= {OK, UNAVAILABLE}
