"""What the view knows of lanes: since when their oldest task waits, how many run, and how long tasks wait."""

import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

import msgspec

from ingest.view.schema import microseconds, moment
from schemas.status import State
from schemas.task import AwareDatetime, Lane

_WAITS_OF: Final = 100
"""Tasks of each state whose waits are looked at."""
_WAITS_WITHIN: Final = timedelta(hours=1)


class LaneWaits(NamedTuple):
    """Seconds from acceptance to the start of the first run; delays that were asked for are part of that."""

    p50: float
    p99: float
    tasks: int
    """Of how many: the newest of the last hour."""


class LaneTasks(NamedTuple):
    """Tasks of one lane."""

    oldest: datetime | None
    """When the oldest that is queued was accepted."""
    running: int
    waits: LaneWaits | None = None
    """``None`` where none was started in the last hour."""


class _Start(msgspec.Struct):
    created_at: AwareDatetime
    started_at: AwareDatetime | None = None
    attempt: int = 0
    generation: int = 1
    deferrals: int = 0


_START: Final = msgspec.json.Decoder(_Start)


def read_lanes(connection: sqlite3.Connection, lanes: Sequence[Lane]) -> dict[Lane, LaneTasks]:
    """How the tasks of ``lanes`` stand.

    Blocking: for some steps in an index for each lane, one for each task that runs, and for the documents of at most
        200 tasks: a millisecond or two for a busy lane.
    """
    since = datetime.now(UTC) - _WAITS_WITHIN
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
        found[lane] = LaneTasks(None if oldest is None else moment(oldest), running, _waits(connection, lane, since))
    return found


def _waits(connection: sqlite3.Connection, lane: Lane, since: datetime) -> LaneWaits | None:
    waits: list[float] = []
    for state in (State.RUNNING, State.SUCCEEDED):
        rows = connection.execute(
            "SELECT document FROM tasks WHERE type = ? AND state = ? AND priority = ? AND created_at >= ?"
            " ORDER BY created_at DESC LIMIT ?",
            [lane.type, state.value, lane.priority.value, microseconds(since), _WAITS_OF],
        )
        for (document,) in rows:
            start = _START.decode(document)
            # Of later runs the status does not tell since when they were due.
            if start.started_at is not None and (start.attempt, start.generation, start.deferrals) == (1, 1, 0):
                waits.append(max(0.0, (start.started_at - start.created_at).total_seconds()))
    if not waits:
        return None
    waits.sort()
    return LaneWaits(_percentile(waits, 50), _percentile(waits, 99), len(waits))


def _percentile(ascending: Sequence[float], percent: int) -> float:
    """The least value that so many of a hundred do not exceed."""
    return ascending[max(0, -(-len(ascending) * percent // 100) - 1)]
