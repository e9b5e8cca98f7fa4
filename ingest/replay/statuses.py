"""Many statuses at once out of the view's file."""

import os
import sqlite3
from collections.abc import Sequence
from typing import Final, NamedTuple

from ingest.view import schema
from schemas.errors import UnavailableError
from schemas.settings import Settings
from schemas.status import State

_AT_ONCE: Final = 500
_SELECT: Final = f"SELECT id, state, step, document FROM tasks WHERE id IN ({','.join('?' * _AT_ONCE)})"  # noqa: S608  (marks alone)
_GENERATION_BYTES: Final = 4


class Known(NamedTuple):
    """What the view knows of a task."""

    state: State
    generation: int
    document: bytes
    """The status."""


class Statuses:
    """Looks tasks up. All methods belong to one thread at a time.

    Raises:
        UnavailableError: (every method) there is no view, or it has become another since the first look: then what was
            waited for need not be in it.
    """

    def __init__(self, settings: Settings) -> None:
        self._path = schema.database(settings.data_dir)
        try:
            self._connection = schema.connect(self._path, read_only=True)
            self._inode = self._path.stat().st_ino
        except (sqlite3.Error, FileNotFoundError) as error:
            raise UnavailableError("there is no status view yet; it is being built from the log") from error

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def applied(self) -> dict[int, int]:
        """Offset of the next record of ``status`` that is not in it, by partition."""
        try:
            return dict(self._connection.execute("SELECT partition, next FROM positions"))
        except sqlite3.Error as error:
            raise UnavailableError(f"the status view cannot be read: {error}") from error

    def find(self, ids: Sequence[str]) -> dict[str, Known]:
        """What is known of these tasks; one that the view does not have is missing."""
        found: dict[str, Known] = {}
        try:
            if os.stat(self._path).st_ino != self._inode:  # noqa: PTH116  (a Path's costs three times as much)
                raise UnavailableError("the status view is being built anew")
            for begin in range(0, len(ids), _AT_ONCE):
                asked = list(ids[begin : begin + _AT_ONCE])
                # One statement for every size, which SQLite has to understand but once.
                asked += [""] * (_AT_ONCE - len(asked))
                for task_id, state, step, document in self._connection.execute(_SELECT, asked):
                    generation = int.from_bytes(step[:_GENERATION_BYTES])
                    found[task_id] = Known(State(state), generation, document)
        except (sqlite3.Error, FileNotFoundError) as error:
            raise UnavailableError(f"the status view cannot be read: {error}") from error
        return found
