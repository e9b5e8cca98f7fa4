"""The task that posts an outcome to a ``callback_url``: which one it is, and its records. No I/O."""

from datetime import datetime

import msgspec

from laneway.ids import id_for_key
from laneway.kafka.records import OutgoingRecord
from schemas import codec
from schemas.callback import POLICY, TASK_LABEL, TYPE_LABEL, Callback
from schemas.headers import Delivery, cloud_event, delivery_headers, timestamp
from schemas.outcome import Event, Outcome
from schemas.status import State, Status
from schemas.task import CALLBACK_TYPE, Task
from schemas.topics import Topics, partition_of


def callback_id(task_id: str, generation: int) -> str:
    """Id of the task that posts the outcome of a task's generation: the same whoever makes it, and however often.

    No idempotency key can be the same: a header has no line breaks.
    """
    return id_for_key(f"callback\n{task_id}\n{generation}")


def callback_records(
    topics: Topics,
    partitions: int,
    source: bytes,
    url: str,
    outcome: Outcome,
    *,
    traceparent: bytes | None = None,
    since: datetime | None = None,
) -> list[OutgoingRecord]:
    """A task that posts ``outcome`` to ``url``, with its first status and event, as ingest makes them for others.

    Args:
        topics: names of topics.
        partitions: of each.
        source: who writes them, as in ``cloud_event``.
        url: where to.
        outcome: how the task ended.
        traceparent: of the request that submitted it.
        since: given where the same task may be in the log already: nothing was told of its run before this time.
    """
    at = outcome.finished_at
    body = Callback(type=f"task.{outcome.state}", timestamp=at, data=outcome)
    task = Task(
        id=callback_id(outcome.id, outcome.generation),
        type=CALLBACK_TYPE,
        payload=msgspec.Raw(codec.encode({"url": url, "body": body})),
        priority=outcome.priority,
        created_at=at,
        labels={TASK_LABEL: outcome.id, TYPE_LABEL: outcome.type},
    )
    status = Status(
        id=task.id,
        type=task.type,
        priority=task.priority,
        state=State.QUEUED,
        max_attempts=POLICY.max_attempts,
        created_at=at,
        updated_at=at,
        labels=task.labels,
    )
    event = Event(id=task.id, type=task.type, priority=task.priority, state=State.QUEUED, at=at)
    number, key = partition_of(task.partition_key, partitions), task.id.encode()
    stamp, step = timestamp(at), f"{task.id}.1.{State.QUEUED.value}"
    headers = cloud_event("task", f"{task.id}.1", source, stamp, traceparent)
    if since is not None:
        headers += delivery_headers(Delivery(repeated=True, since=since))
    told = [cloud_event(kind, step, source, stamp, traceparent) for kind in ("status", "event")]
    return [
        OutgoingRecord(topics.lane(task.lane), number, key, codec.encode(task), headers),
        OutgoingRecord(topics.status, number, key, codec.encode(status), told[0]),
        OutgoingRecord(topics.events, number, key, codec.encode(event), told[1]),
    ]
