"""A plain task's records hold what the general way would have put into them."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from ingest.admission import SOURCE, Admission, decode_submission, moment
from ingest.plain import shared_headers
from laneway.ids import new_id
from laneway.kafka.wire import encoded_record, read_body
from laneway.registry import Registry
from schemas.codec import decode, encode
from schemas.headers import cloud_event, timestamp
from schemas.outcome import Event
from schemas.settings import KafkaSettings, Settings
from schemas.status import State, Status
from schemas.task import Lane, Priority, Task
from schemas.topics import Topics, partition_of

TYPES = Registry()


@TYPES.task("plain.type")
def handle(payload: dict[str, object]) -> None:
    """Never called."""


@given(
    payload=st.dictionaries(st.text(), st.none() | st.integers(-(2**53), 2**53) | st.text(), max_size=40),
    priority=st.sampled_from(Priority),
)
def test_records_are_those_of_the_general_way(payload: dict[str, object], priority: Priority) -> None:
    settings = Settings(kafka=KafkaSettings(partitions=7, topic_prefix="p."))
    body = msgspec.json.encode({"type": "plain.type", "payload": payload, "priority": priority.value})
    at, task_id = moment(), new_id()
    accepted = Admission(settings, TYPES).accept(decode_submission(body), at, task_id)

    topics, partition = Topics("p."), partition_of(task_id, 7)
    task = Task(
        id=task_id,
        type="plain.type",
        payload=msgspec.Raw(msgspec.json.encode(payload)),
        priority=priority,
        created_at=at.now,
    )
    status = Status(
        id=task_id,
        type="plain.type",
        priority=priority,
        state=State.QUEUED,
        max_attempts=TYPES["plain.type"].retry.max_attempts,
        created_at=at.now,
        updated_at=at.now,
    )
    event = Event(id=task_id, type="plain.type", priority=priority, state=State.QUEUED, at=at.now)
    for made, topic, value, kind, step in (
        (accepted.task, topics.lane(Lane("plain.type", priority)), encode(task), "task", "1"),
        (accepted.status, topics.status, encode(status), "status", "1.queued"),
        (accepted.event, topics.events, encode(event), "event", "1.queued"),
    ):
        headers = cloud_event(kind, f"{task_id}.{step}", SOURCE, at.stamp, at.traceparent)
        assert made == encoded_record(topic, partition, task_id.encode(), value, headers)
        assert read_body(made.body) == (task_id.encode(), value, headers)
    assert (accepted.id, accepted.state, accepted.partition) == (task_id, State.QUEUED, partition)
    assert decode(accepted.document, Status) == status


def test_a_time_without_microseconds_is_shorter_and_no_less_sound() -> None:
    at = moment()
    whole = at._replace(now=at.now.replace(microsecond=0))
    stamp = timestamp(whole.now)
    assert len(stamp) == len("2026-01-01T00:00:00Z")
    shared = shared_headers(SOURCE, stamp, at.traceparent)
    record = encoded_record("t", 0, b"k", b"v", cloud_event("task", "", SOURCE, stamp, at.traceparent)[2:])
    assert record.body.endswith(shared)
