"""What a worker that was given up had sent comes into the log after its successor has looked: it runs nothing twice."""

from pathlib import Path

import pytest
from msgspec import Raw

from schemas import codec
from schemas.settings import Settings
from schemas.status import State, Status
from schemas.task import Priority
from schemas.topics import partition_of
from streams.clock import utc_now
from tests.support.kafka import apply_topics, produce_raw
from tests.support.waiting import eventually
from tests.support.workers import outcomes, running_worker, submit

TYPE = "test.ledger"


@pytest.mark.long  # it has a second for what it does
async def test_they_are(settings: Settings, tmp_path: Path) -> None:
    topics = apply_topics(settings, [TYPE])
    ledger = tmp_path / "ledger"
    ended, other = submit(settings, TYPE, [{"path": str(ledger)}] * 2)
    now = utc_now()
    last_words = Status(
        id=ended,
        type=TYPE,
        priority=Priority.NORMAL,
        state=State.SUCCEEDED,
        attempt=1,
        max_attempts=3,
        created_at=now,
        updated_at=now,
        started_at=now,
        finished_at=now,
        result=Raw(b'"of the former"'),
        worker="the former",
    )
    with running_worker(settings, tmp_path / "worker.log", TYPE) as worker:
        await eventually(lambda: "former owners are heard out" in worker.log.read_text(), within=30)
        number = partition_of(ended, settings.kafka.partitions)
        produce_raw(
            settings.bootstrap_servers, topics.status, [codec.encode(last_words)], key=ended.encode(), partition=number
        )
        found = await outcomes(settings, TYPE, 2)
    assert {line.split()[1] for line in ledger.read_text().splitlines()} == {other}
    assert bytes(found[ended].result) == b'"of the former"'
