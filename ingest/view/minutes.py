"""How many tasks came in each minute, and what became of them."""

import sqlite3
from datetime import datetime
from itertools import product

from ingest.view.schema import microseconds
from schemas.status import State
from schemas.task import Priority

_MINUTE = 60_000_000

Minutes = dict[int, dict[State, int]]
"""By minutes since 1970: tasks accepted in it, by the state that they are in now."""


def read_minutes(connection: sqlite3.Connection, since: datetime, types: list[str]) -> Minutes:
    """Tasks of ``types`` accepted from ``since`` on.

    Blocking: some 100 ms for a million of them.
    """
    found: Minutes = {}
    for name, state, priority in product(types, State, Priority):
        rows = connection.execute(
            f"SELECT created_at / {_MINUTE}, count(*) FROM tasks"  # noqa: S608  (a number of ours)
            " WHERE type = ? AND state = ? AND priority = ? AND created_at >= ? GROUP BY 1",
            [name, state.value, priority.value, microseconds(since)],
        )
        for minute, count in rows:
            states = found.setdefault(minute, {})
            states[state] = states.get(state, 0) + count
    return found
