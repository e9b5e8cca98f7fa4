"""What a worker process tells of itself (``workers``)."""

from datetime import timedelta
from typing import Final

from msgspec import Struct

from schemas.task import AwareDatetime, Priority

REPORT_EVERY: Final = timedelta(seconds=5)
SILENT_AFTER: Final = 3 * REPORT_EVERY
"""A worker of which nothing was heard for so long counts as gone, or frozen."""
STUCK_AFTER: Final = timedelta(seconds=60)
MOST_RUNNING: Final = 100
"""Running tasks that a report names."""


class LaneShare(Struct, frozen=True, kw_only=True):
    """What a worker has of a lane."""

    type: str
    priority: Priority
    partitions: list[int]


class TypeSlots(Struct, frozen=True, kw_only=True):
    """A worker's slots for a type."""

    type: str
    total: int
    busy: int


class RunningTask(Struct, frozen=True, kw_only=True):
    """A task that runs in a worker."""

    id: str
    type: str
    priority: Priority
    attempt: int
    since: AwareDatetime


class WorkerReport(Struct, frozen=True, kw_only=True):
    """Value of a record in ``workers``, key the worker's name: one every five seconds.

    A tombstone when it stops in order.
    """

    worker: str
    """Its name, as in statuses."""
    host: str
    pid: int
    version: str
    """Of Laneway."""
    started_at: AwareDatetime
    at: AwareDatetime
    lanes: list[LaneShare]
    slots: list[TypeSlots]
    running: list[RunningTask]
    """The longest running first, at most 100."""
    running_total: int
    waiting: int
    """Tasks here that wait for nothing but a slot."""
    ended: int
    """Runs that have ended since it started."""
    last_end_at: AwareDatetime | None = None
    """About when a run ended last."""


class WorkerView(WorkerReport, frozen=True, kw_only=True):
    """A worker as the API tells of it."""

    alive: bool
    """Whether it was heard of within fifteen seconds."""
    stuck: bool
    """Whether it is alive, all slots of a type are busy, and no run has ended for a minute."""
