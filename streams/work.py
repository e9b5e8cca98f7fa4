"""One record of a lane, from its delivery until its outcome is durable."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from faust.types.tuples import Message

from laneway.registry import TaskType
from schemas.headers import TRACEPARENT, Delivery, header
from schemas.status import Progress, Status
from schemas.task import Lane, Task
from schemas.topics import position
from streams.tracker import OffsetTracker

RunKey = tuple[str, int, int, int]
"""(task id, generation, attempt, deferrals): names one run of one task; two records with one key ask for the same."""


@dataclass(eq=False)
class Partition:
    """One partition of a lane during one assignment."""

    lane: Lane
    number: int
    tracker: OffsetTracker = field(default_factory=OffsetTracker)
    revoked: bool = False
    paused: bool = False
    held: "list[Source] | None" = field(default_factory=list)
    """Records that wait until ``moved_on`` is known; ``None`` from then on."""
    moved_on: dict[str, Status] = field(default_factory=dict)
    """What a former owner had made durable, though its commit did not reach it: by task id, the furthest status."""
    redelivered_until: int = 0
    """Records at and beyond this offset were appended after the assignment: nobody had them before."""


@dataclass(eq=False, slots=True)
class Source:
    """A delivered record and where it came from."""

    partition: Partition
    message: Message

    @property
    def headers(self) -> list[tuple[str, bytes]]:
        """Headers of the record, in order."""
        headers = self.message.headers or []
        return list(headers.items()) if isinstance(headers, Mapping) else headers

    @property
    def position(self) -> str:
        """As ``topic-partition@offset``."""
        return position(self.message.topic, self.message.partition, self.message.offset)

    @property
    def appended_at(self) -> datetime:
        """Broker time of the record."""
        return datetime.fromtimestamp(self.message.timestamp, UTC)


@dataclass(eq=False, slots=True)
class Work:
    """A task that a record asks to run."""

    source: Source
    task: Task
    task_type: TaskType | None
    """``None``: no handler of this worker knows the type."""
    delivery: Delivery
    started_at: datetime | None = None
    told_running: bool = False
    progress: Progress | None = None
    untold_progress: bool = False
    published: bool = False
    """Its outcome was sent; it only waits for the acknowledgement."""
    twins: list[Source] = field(default_factory=list)
    """Further records that ask for this very run: done when it is."""
    handle: Any = None
    """The timer while it is not due, or the asyncio task while it runs."""

    @property
    def key(self) -> RunKey:
        """Names the run."""
        return self.task.id, self.task.generation, self.delivery.attempt, self.delivery.deferrals

    @property
    def max_attempts(self) -> int:
        """The task's own bound, else its type's."""
        if self.task.max_attempts is not None:
            return self.task.max_attempts
        return self.task_type.retry.max_attempts if self.task_type else 1

    @property
    def created_at(self) -> datetime:
        """When the task was accepted."""
        return self.task.created_at or self.source.appended_at

    @property
    def traceparent(self) -> bytes | None:
        """Trace context of the request that submitted it."""
        return header(self.source.headers, TRACEPARENT)
