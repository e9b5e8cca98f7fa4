"""What the view knows of lanes: since when their oldest task waits, and how many run."""

import sqlite3
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from ingest.view.schema import moment
from schemas.status import State
from schemas.task import Lane


class LaneTasks(NamedTuple):
    """Tasks of one lane."""

    oldest: datetime | None
    """When the oldest that is queued was accepted."""
    running: int


def read_lanes(connection: sqlite3.Connection, lanes: Sequence[Lane]) -> dict[Lane, LaneTasks]:
    """How the tasks of ``lanes`` stand.

    Blocking: for two steps in an index for each lane, and one for each task that runs.
    """
    found: dict[Lane, LaneTasks] = {}
    for lane in lanes:
        oldest = connection.execute(
            "SELECT min(created_at) FROM tasks WHERE type = ? AND state = ? AND priority = ?",
            [lane.type, State.QUEUED.value, lane.priority.value],
        ).fetchone()[0]
        running = connection.execute(
            "SELECT count(*) FROM tasks WHERE type = ? AND state = ? AND priority = ?",
            [lane.type, State.RUNNING.value, lane.priority.value],
        ).fetchone()[0]
        found[lane] = LaneTasks(None if oldest is None else moment(oldest), running)
    return found
