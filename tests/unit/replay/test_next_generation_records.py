"""The three records of a task's next generation are whole: values, keys, and the headers that every record has."""

from datetime import UTC, datetime

import pytest
from msgspec import Raw

from ingest.replay.choosing import Past
from ingest.replay.judging import Judged
from ingest.replay.records import SOURCE, ReplayRecords
from laneway.kafka.wire import read_body
from laneway.registry import registry
from schemas import codec
from schemas.headers import REPLAYED_FROM, TRACEPARENT, Headers, cloud_event, read_delivery, timestamp
from schemas.outcome import Event
from schemas.replay import Replay, Selection
from schemas.status import State, Status
from schemas.task import Priority, Task
from schemas.topics import Topics
from tests.support import replay_handlers

NOW = datetime.now(UTC)
TRACE = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
assert replay_handlers.echo is not None


def judged(headers: Headers) -> Judged:
    task = Task(id="ä", type="past.echo", payload=Raw(b"1"), created_at=NOW, ordering_key="k", labels={"a": "b"})
    past = Past(task, codec.encode(task), "laneway.tasks.past.echo.normal", 3, 7, 0, lambda: headers)
    return Judged(past, None, State.SUCCEEDED, 4, None, None)


@pytest.mark.parametrize("since", [None, NOW])
def test_each_says_what_it_is(since: datetime | None) -> None:
    replay = Replay(id="r", select=Selection(), created_at=NOW)
    made = ReplayRecords(replay, Topics(), 4, registry).task(judged([(TRACEPARENT, TRACE)]), NOW, since)
    key, value, headers = read_body(made.task.body)
    assert (made.task.topic, made.task.partition, key) == ("laneway.tasks.past.echo.low", 3, b"k")
    task = codec.decode(value, Task)
    assert (task.id, task.generation, task.priority, task.replay_id) == ("ä", 5, Priority.LOW, "r")
    stamp = timestamp(NOW)
    assert dict(headers).items() >= dict(cloud_event("task", "ä.5", SOURCE, stamp, TRACE)).items()
    assert dict(headers)[REPLAYED_FROM] == b"laneway.tasks.past.echo.normal-3@7"
    delivery = read_delivery(headers)
    assert (delivery.repeated, delivery.since) == (since is not None, since)

    (key, value, headers), (event_key, event_value, event_headers) = (read_body(each.body) for each in made.told)
    assert (key, event_key) == ("ä".encode(), "ä".encode())
    assert [each.topic for each in made.told] == ["laneway.status", "laneway.events"]
    assert dict(headers) == dict(cloud_event("status", "ä.5.queued", SOURCE, stamp, TRACE))
    assert dict(event_headers) == dict(cloud_event("event", "ä.5.queued", SOURCE, stamp, TRACE))
    status = codec.decode(value, Status)
    assert (status.state, status.generation, status.replay_id, status.ordering_key) == (State.QUEUED, 5, "r", "k")
    assert codec.decode(event_value, Event).generation == 5


@pytest.mark.parametrize("headers", [[], [(TRACEPARENT, b"nonsense")]])
def test_a_task_without_a_trace_begins_one(headers: Headers) -> None:
    replay = Replay(id="r", select=Selection(), created_at=NOW)
    made = ReplayRecords(replay, Topics(), 4, registry).task(judged(headers), NOW, None)
    traces = {dict(read_body(each.body)[2])[TRACEPARENT] for each in (made.task, *made.told)}
    assert len(traces) == 1
    assert len(traces.pop()) == len(TRACE)
