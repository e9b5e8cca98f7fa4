"""Schedules: what makes tasks by the clock, and the records of it in the compacted topic ``schedules``.

Everything about one schedule lies in one partition, ``partition_of(name)``, under three keys: ``<name>`` for its
definition, ``<name>/fired`` for how far it has come, ``<name>/done`` for the end of a task that it made.
"""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Final

from msgspec import Meta, Raw, Struct

from schemas.status import State
from schemas.task import Attempts, AwareDatetime, CallbackUrl, Labels, OrderingKey, Priority, Seconds, TaskSubmission

FIRED: Final = "fired"
DONE: Final = "done"

NAME_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
ScheduleName = Annotated[str, Meta(pattern=NAME_PATTERN, description="Letters, digits, dot, dash, underscore.")]
Cron = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=200,
        description="Five fields (minute, hour, day of month, month, day of week), or six with seconds before them.",
    ),
]
TimeZone = Annotated[
    str, Meta(min_length=1, max_length=100, description="IANA name of the zone of the cron's times: `Europe/Berlin`.")
]


class Missed(StrEnum):
    """What becomes of firings whose time passed while nobody could fire them."""

    SKIP = "skip"
    """None of them is made up for, but what is at most 2 s late."""
    ONE = "one"
    """The latest is made up for."""
    ALL = "all"
    """Each is made up for, oldest first."""


class Overlap(StrEnum):
    """What becomes of a firing while the task of the one before has not ended."""

    ALLOW = "allow"
    """It makes its task."""
    SKIP = "skip"
    """It is passed over."""


class ScheduleSubmission(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of ``POST /api/schedules``. An unknown field is an error, so that a typo is never silent."""

    name: ScheduleName
    cron: Cron
    timezone: TimeZone = "UTC"
    task: TaskSubmission
    """What each firing submits; without ``run_at`` and ``delay``, which the schedule decides."""
    missed: Missed = Missed.ONE
    overlap: Overlap = Overlap.ALLOW
    paused: bool = False
    """Whether it makes no tasks for now; times that pass meanwhile do not count as missed."""


class TaskTemplate(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What each firing of a schedule submits."""

    type: str
    payload: Raw
    priority: Priority = Priority.NORMAL
    expires_at: AwareDatetime | None = None
    ordering_key: OrderingKey | None = None
    max_attempts: Attempts | None = None
    timeout: Seconds | None = None
    labels: Labels = {}
    callback_url: CallbackUrl | None = None


class Schedule(Struct, frozen=True, kw_only=True):
    """Value of ``<name>`` in ``schedules``: the definition. A tombstone deletes it."""

    name: str
    cron: str
    timezone: str = "UTC"
    task: TaskTemplate
    missed: Missed = Missed.ONE
    overlap: Overlap = Overlap.ALLOW
    paused: bool = False
    defined_at: AwareDatetime
    """When it got its present form: it fires for no time up to then."""
    max_attempts: int
    """Of the task's type where the task says none, as it was then: what the first status of each task tells."""


class PassedOver(Struct, frozen=True, kw_only=True):
    """Times for which a schedule made no task."""

    since: AwareDatetime
    """The first of them."""
    until: AwareDatetime
    """The last of them."""
    why: str
    """`missed`: nobody could fire then. `overlap`: the task before had not ended."""


class ScheduleProgress(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Value of ``<name>/fired`` in ``schedules``: how far a schedule has come."""

    last: AwareDatetime
    """Every time up to this one was handled."""
    fired_at: AwareDatetime | None = None
    """The latest time for which a task was made."""
    task_id: str | None = None
    """That task."""
    passed_over: PassedOver | None = None
    """The latest times for which none was made."""


class ScheduleDone(Struct, frozen=True, kw_only=True):
    """Value of ``<name>/done`` in ``schedules``: how a task that a schedule made has ended."""

    task_id: str
    fired_at: AwareDatetime
    """The time for which the task was made."""
    state: State
    """A final one."""
    at: AwareDatetime


class LastFiring(Struct, frozen=True, kw_only=True):
    """The latest task that a schedule made."""

    at: AwareDatetime
    """The time for which it was made."""
    task_id: str | None
    state: State | None = None
    """The state that it ended in; ``None`` as long as it has not."""
    ended_at: AwareDatetime | None = None


class ScheduleView(Struct, frozen=True, kw_only=True):
    """A schedule as the API tells it."""

    name: str
    cron: str
    timezone: str
    task: TaskTemplate
    missed: Missed
    overlap: Overlap
    paused: bool
    defined_at: AwareDatetime
    """When it got its present form: it fires for no time up to then."""
    next: list[AwareDatetime]
    """Its next times, in its zone; none while it is paused."""
    last: LastFiring | None = None
    passed_over: PassedOver | None = None
    """The latest times for which it made no task, and why."""


def follows(new: ScheduleProgress | ScheduleDone, old: ScheduleProgress | ScheduleDone | None) -> bool:
    """Whether a record is not older than another one of its key, by the times that they are about.

    Ordering: a scheduler that was given up, and a worker that repeats what it may have told, can write an older record
        behind a newer one; by this rule it changes nothing.
    """
    return old is None or _about(new) >= _about(old)


def _about(record: ScheduleProgress | ScheduleDone) -> datetime:
    return record.last if isinstance(record, ScheduleProgress) else record.fired_at


def schedule_key(name: str, part: str | None = None) -> bytes:
    """Key of a record of a schedule: of its definition, or of the part ``fired`` or ``done``."""
    return (name if part is None else f"{name}/{part}").encode()
