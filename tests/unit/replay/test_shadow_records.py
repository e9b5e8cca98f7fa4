"""The record of a shadow run has an id of its own and leaves out all by which somebody could be told of it."""

from datetime import UTC, datetime

import pytest
from msgspec import Raw

from ingest.replay.choosing import Past
from ingest.replay.judging import Judged
from ingest.replay.records import ReplayRecords
from laneway.kafka.wire import read_body
from laneway.registry import registry
from schemas import codec
from schemas.headers import REPLAYED_FROM, TRACEPARENT, header, read_delivery
from schemas.replay import Replay, Selection
from schemas.status import State
from schemas.task import Priority, Task
from schemas.topics import Topics
from tests.support import replay_handlers

NOW = datetime.now(UTC)
TRACE = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
assert replay_handlers.echo is not None


def judged(generation: int = 2, payload: bytes | None = None) -> Judged:
    task = Task(
        id="a",
        type="past.echo",
        payload=Raw(b'{"n": 1}'),
        priority=Priority.HIGH,
        created_at=NOW,
        generation=generation,
        run_at=NOW,
        expires_at=NOW,
        ordering_key="k",
        callback_url="https://example.org",
        schedule="nightly",
        fingerprint="f",
        labels={"tenant": "acme"},
        replay_id="former",
    )
    past = Past(task, codec.encode(task), "laneway.tasks.past.echo.high", 3, 7, 0, lambda: [(TRACEPARENT, TRACE)])
    return Judged(past, None, State.SUCCEEDED, generation, None, payload)


def records(replay_id: str) -> ReplayRecords:
    replay = Replay(id=replay_id, select=Selection(), shadow=True, created_at=NOW)
    return ReplayRecords(replay, Topics(), 4, registry)


@pytest.mark.parametrize("payload", [None, b'{"n":2}'])
def test_it_is_the_task_without_those_who_wait_for_it(payload: bytes | None) -> None:
    made = records("r").shadow(judged(payload=payload), NOW)
    key, value, headers = read_body(made.task.body)
    task = codec.decode(value, Task)
    assert (made.task.topic, made.task.partition, made.told) == ("laneway.tasks.past.echo.low", 3, [])
    assert key == task.id.encode()
    assert task == Task(
        id=task.id,
        type="past.echo",
        payload=task.payload,
        priority=Priority.LOW,
        created_at=NOW,
        generation=2,
        labels={"tenant": "acme"},
        replay_id="r",
    )
    assert bytes(task.payload) == (payload or b'{"n": 1}')
    assert read_delivery(headers).shadow_of == "a"
    assert header(headers, TRACEPARENT) not in (None, TRACE)
    assert header(headers, REPLAYED_FROM) == b"laneway.tasks.past.echo.high-3@7"


def test_a_crash_repeats_its_id_and_another_job_or_generation_has_another() -> None:
    ids = [
        read_body(records(replay).shadow(judged(generation), NOW).task.body)[0]
        for replay, generation in (("r", 1), ("r", 1), ("r", 2), ("s", 1))
    ]
    assert ids[0] == ids[1]
    assert len(set(ids)) == 3
