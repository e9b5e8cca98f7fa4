"""Which task of an ordering key has its turn before another one."""

import sqlite3
from typing import Final

from ingest.view.schema import microseconds
from schemas.codec import decode
from schemas.status import State, Status

_LOOKED_AT: Final = 1_000
"""Tasks of a key, the oldest first. The one that has the turn is among the oldest, but for replayed ones."""
_OF_KEY: Final = (
    "SELECT created_at, id, state, updated_at FROM tasks INDEXED BY tasks_by_key"
    " WHERE open_key = ? AND type = ? AND priority = ? AND state <> ? AND id <> ? ORDER BY created_at, id LIMIT ?"
)


def read_holder(connection: sqlite3.Connection, status: Status) -> Status | None:
    """The task that a queued one waits behind, because they are of one lane and ordering key.

    It is the one that has its turn, running or between two runs (a key keeps its turn until its task has ended); where
    none has, the latest of those that were queued before, as far as those looked at go.

    Blocking: for two milliseconds where a thousand wait; longer for a key of which many thousands are not due yet.
    """
    asked = (status.ordering_key, status.type, status.priority.value, State.SCHEDULED.value, status.id, _LOOKED_AT)
    own = (microseconds(status.updated_at), status.id)
    holder: tuple[int, str] | None = None
    latest = (-1, "")
    for created_at, task_id, state, updated_at in connection.execute(_OF_KEY, asked):
        if state != State.QUEUED.value:
            holder = created_at, task_id
            break
        if latest < (updated_at, task_id) < own:
            holder, latest = (created_at, task_id), (updated_at, task_id)
    if holder is None:
        return None
    row = connection.execute("SELECT document FROM tasks WHERE (created_at, id) = (?, ?)", holder).fetchone()
    return None if row is None else decode(row[0], Status)
