"""A task runs once and leaves a status, an outcome and events, each a CloudEvent."""

from pathlib import Path

import msgspec

from schemas import codec
from schemas.outcome import Event
from schemas.settings import Settings
from schemas.status import State, Status
from schemas.topics import Topics
from tests.support.kafka import read_all
from tests.support.workers import outcome_records, outcomes, running_worker, submit


async def test_a_task_runs_to_its_outcome(settings: Settings, tmp_path: Path) -> None:
    topics = Topics(settings.kafka.topic_prefix)
    with running_worker(settings, tmp_path / "worker.log", "test.echo") as worker:
        await worker.ready()
        (task_id,) = submit(settings, "test.echo", [{"n": 1}], labels={"tenant": "acme"})
        outcome = (await outcomes(settings, "test.echo", 1))[task_id]
    assert (outcome.state, outcome.attempt, outcome.labels) == (State.SUCCEEDED, 1, {"tenant": "acme"})
    assert msgspec.json.decode(outcome.result) == {"n": 1}

    (record,) = outcome_records(settings, "test.echo")
    assert record.key == task_id.encode()
    assert record.header("ce_type") == b"laneway.outcome"
    assert record.header("ce_specversion") == b"1.0"
    assert (
        record.header(
            "ce_source",
        )
        == f"/laneway/worker/{outcome.worker}".encode()
    )

    statuses = [codec.decode(found.value, Status) for found in read_all(settings.bootstrap_servers, topics.status)]
    assert statuses[-1].state is State.SUCCEEDED
    assert statuses[-1].result == outcome.result
    events = [codec.decode(found.value, Event) for found in read_all(settings.bootstrap_servers, topics.events)]
    assert events[-1].state is State.SUCCEEDED
    assert events[-1].position is not None
    assert events[-1].position.startswith(f"{settings.kafka.topic_prefix}tasks.test.echo.normal-")
