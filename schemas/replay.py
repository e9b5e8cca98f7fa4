"""Replays: past tasks published again on purpose, and the records of it in the compacted topic ``replays``.

Everything about one job lies in one partition, ``partition_of(id)``, under four keys: ``<id>`` for what was asked for,
``<id>/asked`` for what an operator wants of it now, ``<id>/plan`` for what it would do, ``<id>/run`` for how far it is.
The first two are written by API processes, the others by the one process that runs replays.
"""

from enum import StrEnum
from typing import Annotated, Any, Final

from msgspec import Meta, Struct

from schemas.errors import InvalidReplayError
from schemas.status import FINAL_STATES, ErrorInfo, State
from schemas.task import AwareDatetime, Priority, TypeName

ASKED: Final = "asked"
PLAN: Final = "plan"
RUN: Final = "run"

DEFAULT_RATE: Final = 1_000.0
MAX_CANARY: Final = 1_000
MAX_IDS: Final = 1_000
Share = Annotated[float, Meta(ge=0, le=1)]
Rate = Annotated[float, Meta(ge=0, le=1_000_000, description="Tasks a second at most; 0 for as many as the log takes.")]


class ReplayState(StrEnum):
    """Where a replay is in its life."""

    PLANNED = "planned"
    """It is being planned, or its plan waits to be run; `reason` says which, or what it waits for."""
    RUNNING = "running"
    """Its tasks are being put back into their lanes."""
    PAUSED = "paused"
    """An operator holds it; it goes on where it stands."""
    DONE = "done"
    """Everything that its plan selects was put back, or passed over for a reason that `counts` tells."""
    ABORTED = "aborted"
    """An operator ended it; what was put back by then runs."""
    FAILED = "failed"
    """It could not be planned, or its canary did not do well enough; `reason` says why."""

    @property
    def final(self) -> bool:
        """Whether nothing more comes of the job."""
        return self in {ReplayState.DONE, ReplayState.ABORTED, ReplayState.FAILED}


class Source(StrEnum):
    """Where past tasks are taken from."""

    TASKS = "tasks"
    """The lanes, which keep tasks for seven days."""
    DEAD_LETTERS = "dead_letters"
    """The dead letters, which are kept for thirty."""


class Selection(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which tasks; all that is said has to hold. At least one thing has to be said."""

    types: list[TypeName] | None = None
    priorities: list[Priority] | None = None
    states: list[State] | None = None
    """Final ones: what has not ended is never replayed."""
    labels: dict[str, str] | None = None
    since: AwareDatetime | None = None
    """Accepted at this time or later; of dead letters, set aside then."""
    until: AwareDatetime | None = None
    """Accepted before this time; of dead letters, set aside before."""
    key: Annotated[str, Meta(min_length=1, max_length=256)] | None = None
    """The ordering key, or the id of a task that has none."""
    ids: Annotated[list[str], Meta(max_length=MAX_IDS)] | None = None
    """Just these tasks."""
    error: Annotated[str, Meta(min_length=1, max_length=1_000)] | None = None
    """Class of the error that the task ended with, or part of its text."""
    where: Annotated[str, Meta(min_length=1, max_length=4_000)] | None = None
    """JMESPath expression over the payload; tasks for which it is true in JMESPath's sense are taken."""
    offsets: dict[str, tuple[int, int]] | None = None
    """Only these parts of the log: by `topic-partition` the first offset and the one behind the last."""

    def check(self) -> None:
        """Refuse what selects everything, or what still runs.

        Raises:
            InvalidReplayError: it does.
        """
        said = [name for name in self.__struct_fields__ if getattr(self, name) is not None]
        if not said:
            raise InvalidReplayError("select: say which tasks; everything that ever was is not replayed by accident")
        for name in said:
            value = getattr(self, name)
            if isinstance(value, list | dict) and not value:
                raise InvalidReplayError(f"select.{name}: an empty list selects nothing")
        wrong = [state.value for state in self.states or () if state not in FINAL_STATES]
        if wrong:
            raise InvalidReplayError(
                f"select.states: {wrong[0]!r} is not final; what has not ended is never replayed (cancel it first)"
            )
        if self.since is not None and self.until is not None and self.since >= self.until:
            raise InvalidReplayError("select.until: not after select.since, so it selects nothing")
        for place, (first, end) in (self.offsets or {}).items():
            if first < 0 or end <= first:
                raise InvalidReplayError(f"select.offsets.{place}: want the first offset and the one behind the last")


class Canary(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The first tasks of a job, which have to do well before the others follow."""

    count: Annotated[int, Meta(ge=1, le=MAX_CANARY)]
    success: Share = 1.0
    """Part of them that has to succeed."""
    within: Annotated[float, Meta(gt=0, le=86_400)] = 300.0
    """Seconds from the last of them on."""


class ReplaySubmission(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of ``POST /api/replays``. An unknown field is an error, so that a typo is never silent."""

    select: Selection
    source: Source = Source.TASKS
    dry_run: bool = False
    """Make the plan and wait: `POST /api/replays/{id}/run` runs exactly that."""
    rate: Rate = DEFAULT_RATE
    max: Annotated[int, Meta(ge=1)] | None = None
    """Tasks at most."""
    priority: Priority | None = Priority.LOW
    """Of the lane that they go into; `null` for the one that each had."""
    patch: dict[str, Any] | None = None
    """JSON merge patch (RFC 7396) over each payload; what comes out is held against the type's schema."""
    transform: Annotated[str, Meta(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$", max_length=300)] | None = None
    """`module:function` of a module that the API was started with (`--import`): gets each payload, and returns it."""
    canary: Canary | None = None
    shadow: bool = False
    """Run handlers for comparison alone, in the low lane: the tasks, their statuses and results stay as they are."""


class Replay(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Value of ``<id>`` in ``replays``: what was asked for. It never changes."""

    id: str
    select: Selection
    source: Source = Source.TASKS
    dry_run: bool = False
    rate: float = DEFAULT_RATE
    max: int | None = None
    priority: Priority | None = Priority.LOW
    patch: dict[str, Any] | None = None
    transform: str | None = None
    canary: Canary | None = None
    shadow: bool = False
    created_at: AwareDatetime


class Wish(StrEnum):
    """What an operator wants of a job."""

    RUN = "run"
    PAUSE = "pause"
    ABORT = "abort"


class ReplayAsked(Struct, frozen=True, kw_only=True):
    """Value of ``<id>/asked`` in ``replays``; the latest counts, and nothing counts after an abort."""

    wish: Wish
    at: AwareDatetime


class SourceRange(Struct, frozen=True, kw_only=True):
    """A part of the log that a plan has been made of, and that its run reads."""

    topic: str
    partition: int
    first: int
    end: int
    """The offset behind the last."""

    @property
    def place(self) -> str:
        """As `topic-partition`."""
        return f"{self.topic}-{self.partition}"


class Sample(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One of the tasks that a plan selects."""

    id: str
    type: str
    priority: Priority
    position: str
    """Where its record lies, as `topic-partition@offset`."""
    state: State | None = None
    generation: int = 1
    """As it is now; its replay is the next one."""
    error: ErrorInfo | None = None
    payload: Any = None
    """Absent where it is too long to be shown."""
    diff: list[str] = []
    """What the patch changes, one value a line."""


class ReplayPlan(Struct, frozen=True, kw_only=True):
    """Value of ``<id>/plan`` in ``replays``: what a job would do, and the parts of the log that it reads."""

    sources: list[SourceRange]
    records: int
    """How many were read."""
    selected: int
    """Tasks that would be replayed, before `max`."""
    types: dict[str, int]
    states: dict[str, int]
    errors: dict[str, int]
    """By class of the error that the task ended with; the most frequent."""
    passed_over: dict[str, int]
    """Tasks that match and would not be replayed, by why; records that cannot be judged."""
    samples: list[Sample]
    seconds: float
    """Estimate of how long it would take."""
    planned_at: AwareDatetime
    planned_in: float
    """Seconds."""


class ReplayRun(Struct, frozen=True, kw_only=True):
    """Value of ``<id>/run`` in ``replays``: how far a job is."""

    state: ReplayState
    reason: str | None = None
    replayed: int = 0
    """Tasks that have a new generation, or a shadow run, by this job."""
    passed_over: dict[str, int] = {}
    """Those that matched and were not replayed, by why."""
    records: int = 0
    """Read so far, of those in the plan."""
    positions: dict[str, int] = {}
    """By `topic-partition`: everything before this offset is dealt with."""
    since: AwareDatetime | None = None
    """When the oldest task that may lie beyond `positions` was appended."""
    canary: list[str] = []
    """The tasks of the canary, as long as it is not over."""
    canary_since: AwareDatetime | None = None
    """When the last of them was replayed."""
    canary_over: bool = False
    seconds: float = 0.0
    """Spent running so far."""
    started_at: AwareDatetime | None = None
    finished_at: AwareDatetime | None = None
    updated_at: AwareDatetime
    runner: str | None = None
    """Which process runs it."""


class ReplayCounts(Struct, frozen=True, kw_only=True):
    """How many tasks and records a job is about."""

    selected: int | None
    """By its plan, and at most `max`; `None` as long as there is none."""
    replayed: int = 0
    passed_over: dict[str, int] = {}
    records: int = 0
    records_planned: int | None = None


class ReplayView(Struct, frozen=True, kw_only=True):
    """A replay as the API tells it."""

    id: str
    state: ReplayState
    reason: str | None
    counts: ReplayCounts
    percent: float | None = None
    """Of the records that the plan reads."""
    seconds_left: float | None = None
    """Estimate, by its pace so far."""
    dry_run: bool
    select: Selection
    source: Source
    rate: float
    max: int | None
    priority: Priority | None
    patch: dict[str, Any] | None = None
    transform: str | None
    canary: Canary | None
    shadow: bool = False
    created_at: AwareDatetime
    started_at: AwareDatetime | None = None
    finished_at: AwareDatetime | None = None
    plan: ReplayPlan | None = None


def replay_key(replay_id: str, part: str | None = None) -> bytes:
    """Key of a record of a job: of what was asked for, or of a part of it."""
    return (replay_id if part is None else f"{replay_id}/{part}").encode()
