"""The status of a task and the state machine that it moves in.

The table ``TRANSITIONS`` is the only definition; ``docs/states.md`` draws it and a test holds the two equal.
"""

from datetime import datetime
from enum import StrEnum
from typing import Final

from msgspec import UNSET, Raw, Struct, UnsetType

from schemas.errors import IllegalTransitionError
from schemas.task import AwareDatetime, Priority

NULL: Final = Raw(b"null")


class State(StrEnum):
    """Where a task is in its life."""

    SCHEDULED = "scheduled"
    """Accepted, and not due yet (`run_at`, `delay`); `not_before` says when it is."""
    QUEUED = "queued"
    """Accepted and due: its record lies in its lane and waits for a free slot."""
    RUNNING = "running"
    """A handler is at work on it; `worker` says whose, `started_at` since when."""
    RETRYING = "retrying"
    """The latest run failed, or asked for a later one; it runs again from `not_before` on, `error` says why."""
    SUCCEEDED = "succeeded"
    """The handler returned; `result` is what it returned."""
    DEAD_LETTERED = "dead_lettered"
    """It is not tried again by itself; `error` says why, and its record is in `tasks.<type>.dlq`."""
    CANCELLED = "cancelled"
    """Somebody called it off before it was done."""
    EXPIRED = "expired"
    """It had not started by `expires_at`."""

    @property
    def final(self) -> bool:
        """Whether this generation of the task ends here."""
        return self in FINAL_STATES


FINAL_STATES: Final = frozenset({State.SUCCEEDED, State.DEAD_LETTERED, State.CANCELLED, State.EXPIRED})

# `running` may be missing from the record of a task that is over in milliseconds, hence the direct ways to an end.
_ENDS: Final = FINAL_STATES | {State.RETRYING}
TRANSITIONS: Final[dict[State | None, frozenset[State]]] = {
    None: frozenset({State.QUEUED, State.SCHEDULED}),
    State.SCHEDULED: frozenset({State.SCHEDULED, State.QUEUED, State.RUNNING}) | _ENDS,
    State.QUEUED: frozenset({State.RUNNING}) | _ENDS,
    State.RUNNING: frozenset({State.RUNNING}) | _ENDS,
    State.RETRYING: frozenset({State.RUNNING}) | _ENDS,
    State.SUCCEEDED: frozenset(),
    State.DEAD_LETTERED: frozenset(),
    State.CANCELLED: frozenset(),
    State.EXPIRED: frozenset(),
}
"""What may follow what within one generation; ``None`` is a task that was not there before."""

RANK: Final[dict[State, int]] = {
    State.SCHEDULED: 0,
    State.QUEUED: 1,
    State.RUNNING: 2,
    State.RETRYING: 3,
    State.SUCCEEDED: 4,
    State.DEAD_LETTERED: 4,
    State.CANCELLED: 4,
    State.EXPIRED: 4,
}
"""Order of the states within one attempt."""


class Progress(Struct, frozen=True):
    """How far a running handler says it is."""

    percent: float
    message: str | None = None


class ErrorInfo(Struct, frozen=True, omit_defaults=True):
    """One failure, as told in statuses, outcomes, events and headers."""

    type: str
    """Name of the exception's class."""
    message: str
    retriable: bool
    attempt: int | None = None
    at: AwareDatetime | None = None


class Status(Struct, frozen=True, kw_only=True):
    """The status document: value of a record in ``status`` and answer of ``GET /api/tasks/{id}``."""

    id: str
    type: str
    priority: Priority
    state: State
    attempt: int = 0
    """Number of the latest run that began; 0 before the first."""
    max_attempts: int
    created_at: AwareDatetime
    updated_at: AwareDatetime
    started_at: AwareDatetime | None = None
    """Begin of the latest run."""
    finished_at: AwareDatetime | None = None
    not_before: AwareDatetime | None = None
    """While ``scheduled`` or ``retrying``: when it is due."""
    progress: Progress | None = None
    result: Raw = NULL
    error: ErrorInfo | None = None
    """The latest failure; kept while the task waits for its next attempt, and when it ends without a result."""
    errors: tuple[ErrorInfo, ...] = ()
    """Every failure so far, oldest first (the oldest are dropped past ``schemas.headers.MAX_ERRORS``)."""
    labels: dict[str, str] = {}
    ordering_key: str | None = None
    generation: int = 1
    deferrals: int = 0
    """How often the run was put off without spending an attempt: the handler asked for a later one (``RetryLater``), or
    somebody changed when it is due."""
    replay_id: str | None = None
    worker: str | None = None
    member: str | UnsetType = UNSET
    """While ``running``: as which member of its lane's group ``worker`` runs it. Once the group has given that one up,
    others may run it though the worker lives."""
    fingerprint: str | None = None
    callback_url: str | UnsetType = UNSET
    """Where the outcome is posted; absent where nobody asked for that."""
    claim: str | UnsetType = UNSET
    """Absent from a status. A record that has it is none yet: a request claims the id of its idempotency key with it,
    before the task is in its lane. Names the claim."""


Order = tuple[int, int, int, int]
_CLAIMED: Final[Order] = (0, 0, 0, 0)


def order(status: Status) -> Order:
    """Position of a status in the life of its task: (generation, attempt, deferrals, rank of state).

    A claim is behind every status, and no claim is ahead of another.
    """
    if status.claim:
        return _CLAIMED
    return status.generation, status.attempt, status.deferrals, RANK[status.state]


def supersedes(new: Status, old: Status | None) -> bool:
    """Whether ``new`` is ahead of ``old``, so that a view takes it.

    Ordering: late and repeated records of a former worker are not ahead and change nothing. Within one run
        ``running`` follows ``running`` (progress, or a run begun again after a crash) unless it began earlier.
    """
    if old is None:
        return True
    new_order, old_order = order(new), order(old)
    if new_order != old_order:
        return new_order > old_order
    if new.state is not State.RUNNING:
        return False
    return _began(new) > _began(old) or (_began(new) == _began(old) and new.updated_at > old.updated_at)


def _began(status: Status) -> datetime:
    return status.started_at or status.created_at


def check_transition(old: State | None, new: State) -> None:
    """Hold a step against the table.

    Raises:
        IllegalTransitionError: ``new`` may not follow ``old`` within one generation.
    """
    if new not in TRANSITIONS[old]:
        allowed = ", ".join(sorted(TRANSITIONS[old])) or "nothing"
        raise IllegalTransitionError(f"state {new} cannot follow {old or 'nothing'}; allowed: {allowed}")
