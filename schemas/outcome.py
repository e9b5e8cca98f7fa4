"""How a task ended (``results.<type>``) and each step on its way (``events``)."""

from typing import Any

import msgspec
from msgspec import Raw, Struct

from schemas.status import NULL, ErrorInfo, Progress, State, Status
from schemas.task import AwareDatetime, Priority


class Outcome(Struct, frozen=True, kw_only=True):
    """Value of a record in ``results.<type>``: one for each (task, generation), key task id.

    A crash between the publication and the acknowledgement of its source can repeat a record; readers drop the
    repetition by (id, generation).
    """

    id: str
    type: str
    priority: Priority
    state: State
    """A final one."""
    result: Raw = NULL
    error: ErrorInfo | None = None
    attempt: int
    max_attempts: int
    created_at: AwareDatetime
    started_at: AwareDatetime | None = None
    finished_at: AwareDatetime
    labels: dict[str, str] = {}
    ordering_key: str | None = None
    generation: int = 1
    replay_id: str | None = None
    worker: str | None = None

    @classmethod
    def of(cls, status: Status) -> "Outcome":
        """The outcome that a final status tells."""
        return cls(
            id=status.id,
            type=status.type,
            priority=status.priority,
            state=status.state,
            result=status.result,
            error=status.error,
            attempt=status.attempt,
            max_attempts=status.max_attempts,
            created_at=status.created_at,
            started_at=status.started_at,
            finished_at=status.finished_at or status.updated_at,
            labels=status.labels,
            ordering_key=status.ordering_key,
            generation=status.generation,
            replay_id=status.replay_id,
            worker=status.worker,
        )

    @property
    def value(self) -> Any:
        """The result as Python has it: what the handler returned, after its way through JSON."""
        return msgspec.json.decode(self.result)


class Event(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Value of a record in ``events``: one transition or progress report of one task, key task id."""

    id: str
    type: str
    priority: Priority
    state: State
    at: AwareDatetime
    attempt: int = 0
    deferrals: int = 0
    generation: int = 1
    worker: str | None = None
    position: str | None = None
    """Where the task's record lies, as ``topic-partition@offset``."""
    not_before: AwareDatetime | None = None
    progress: Progress | None = None
    error: ErrorInfo | None = None
    traceback: str | None = None

    @classmethod
    def of(
        cls,
        status: Status,
        *,
        worker: str | None = None,
        position: str | None = None,
        error: ErrorInfo | None = None,
        traceback: str | None = None,
    ) -> "Event":
        """The event that tells of a status, and of the run that led to it, if one did."""
        return cls(
            id=status.id,
            type=status.type,
            priority=status.priority,
            state=status.state,
            at=status.updated_at,
            attempt=status.attempt,
            deferrals=status.deferrals,
            generation=status.generation,
            worker=worker,
            position=position,
            not_before=status.not_before,
            progress=status.progress,
            error=error,
            traceback=traceback,
        )
