"""Works as the worker's parts hand them to one another, without a log."""

from datetime import UTC, datetime, timedelta
from typing import Any, cast

import msgspec
from aiokafka.structs import ConsumerRecord

from schemas.headers import FIRST_DELIVERY, Delivery
from schemas.retry import RetryPolicy
from schemas.status import State
from schemas.task import Lane, Task
from streams.work import Partition, Source, Work

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)


class TypeOfTask:
    retry = RetryPolicy()


def work(
    lane: Lane,
    *,
    end: State = State.SUCCEEDED,
    why: str = "",
    delivery: Delivery = FIRST_DELIVERY,
    started_after: timedelta = timedelta(seconds=2),
    **fields: Any,
) -> Work:
    """A run that was accepted at ``NOW``, and started a while later."""
    record = ConsumerRecord(f"laneway.tasks.{lane}", 0, 5, int(NOW.timestamp() * 1000), 0, b"a", b"{}", None, 1, 2, ())
    task = Task(
        id="a", type=lane.type, priority=lane.priority, payload=msgspec.Raw(b"{}"), **{"created_at": NOW, **fields}
    )
    found = Work(Source(Partition(lane, 0), cast("Any", record)), task, cast("Any", TypeOfTask()), delivery)
    found.started_at = NOW + started_after
    found.end, found.why = end, why
    return found
