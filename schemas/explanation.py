"""Why a task is where it is: answer of ``GET /api/tasks/{id}/why``."""

from enum import StrEnum

from msgspec import Struct

from schemas.status import ErrorInfo, State
from schemas.task import AwareDatetime, Priority


class Reason(StrEnum):
    """What a task waits for, or what became of it."""

    ENDED = "ended"
    """Its state is final."""
    RUNNING = "running"
    """A worker runs it."""
    SCHEDULED = "scheduled"
    """It is not due yet."""
    RETRYING = "retrying"
    """Its latest run failed, or asked for a later one; it is not due again yet."""
    DEAD_LETTER_BUDGET = "dead_letter_budget"
    """A worker holds its lane, because too many of its tasks went to the dead letters."""
    LANE_PAUSED = "lane_paused"
    """An operator holds its lane."""
    NO_WORKER = "no_worker"
    """No worker takes from its lane."""
    ORDERING_KEY = "ordering_key"
    """An earlier task of its ordering key has the turn, or comes before it."""
    WAITING = "waiting"
    """It is due, and waits for its turn in its lane."""


class Explanation(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One reason, with what is known of it."""

    reason: Reason
    text: str
    """For people."""
    since: AwareDatetime | None = None
    """Begin of the run, of the hold or of the wait, or when it ended; of another task's state, where that is told."""
    due_at: AwareDatetime | None = None
    due_in: float | None = None
    """Seconds until then."""
    by: str | None = None
    """Who holds the lane."""
    said: str | None = None
    """What they gave as their reason."""
    task: str | None = None
    """Id of the earlier task of its ordering key."""
    state: State | None = None
    """Of that one."""
    worker: str | None = None
    """Who runs it, or the earlier task of its ordering key."""
    attempt: int | None = None
    ahead: int | None = None
    """Estimate: uncommitted records before it in its partition of the lane, by the time it came to wait."""
    error: ErrorInfo | None = None
    """The latest failure."""


class Why(Struct, frozen=True, kw_only=True):
    """Why a task is where it is."""

    id: str
    type: str
    priority: Priority
    state: State
    reasons: tuple[Explanation, ...]
    """Most decisive first; never empty."""
