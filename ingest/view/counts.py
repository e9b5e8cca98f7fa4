"""How many tasks of each type, priority and state the view holds, kept in the transactions that change them."""

import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Final

from ingest.view.schema import TaskRow
from schemas.status import State
from schemas.task import Lane, Priority

_AT_ONCE: Final = 500
"""Tasks that one question to the file asks for."""

Counts = dict[tuple[Lane, State], int]


class CountChanges:
    """By how much a transaction changes the counts. Written once for each that changes, however many tasks did."""

    def __init__(self) -> None:
        self._by: Counter[tuple[str, str, str]] = Counter()

    def gone(self, type_name: str, priority: str, state: str) -> None:
        """A row is deleted."""
        self._by[type_name, priority, state] -= 1

    def coming(self, connection: sqlite3.Connection, rows: Mapping[str, TaskRow]) -> None:
        """Rows are about to be written; those that are not ahead of what is there change nothing.

        Args:
            connection: of the transaction, in which rows to be deleted are deleted already.
            rows: by id.
        """
        by = self._by
        known = {row[0]: row[1:] for row in _stored(connection, rows)}
        for task_id, (_, _, type_name, priority, state, _, step, *_) in rows.items():
            before = known.get(task_id)
            if before is None:
                by[type_name, priority, state] += 1
            elif step > before[3] and state != before[2]:
                # Its type and its priority stay what they are in the file.
                by[before[0], before[1], before[2]] -= 1
                by[before[0], before[1], state] += 1

    def write(self, connection: sqlite3.Connection) -> None:
        """Add the changes to the counts."""
        connection.executemany(
            "INSERT INTO counts VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET number = number + excluded.number",
            [(*which, by) for which, by in self._by.items() if by],
        )


def read_counts(connection: sqlite3.Connection) -> Counts:
    """How many tasks there are by lane and state, none of them zero.

    Blocking: for a row of a small table for each lane and state.
    """
    return {
        (Lane(name, Priority(priority)), State(state)): number
        for name, priority, state, number in connection.execute(
            "SELECT type, priority, state, number FROM counts WHERE number <> 0 ORDER BY type, priority, state"
        )
    }


def _stored(connection: sqlite3.Connection, ids: Iterable[str]) -> Iterable[tuple[str, str, str, str, bytes]]:
    rest = iter(ids)
    while chunk := list(islice(rest, _AT_ONCE)):
        marks = ",".join("?" * len(chunk))
        yield from connection.execute(
            f"SELECT id, type, priority, state, step FROM tasks WHERE id IN ({marks})",  # noqa: S608  (question marks)
            chunk,
        )
