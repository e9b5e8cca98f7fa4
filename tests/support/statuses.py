"""Statuses made up for tests."""

from datetime import UTC, datetime

from schemas.status import State, Status
from schemas.task import Priority


def status_of(task_id: str, state: State, *, attempt: int | None = None) -> Status:
    """A status of a task of the type `email`."""
    now = datetime.now(UTC)
    return Status(
        id=task_id,
        type="email",
        priority=Priority.NORMAL,
        state=state,
        attempt=attempt if attempt is not None else 0 if state in (State.QUEUED, State.SCHEDULED) else 1,
        max_attempts=5,
        created_at=now,
        updated_at=now,
        finished_at=now if state.final else None,
    )
