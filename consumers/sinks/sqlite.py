"""Outcomes in a SQLite file."""

import contextlib
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from consumers.sinks.sink import COLUMNS, Batch, Part, Row
from schemas.errors import SinkError, SinkFencedError, SinkUnavailableError

_BUSY_SECONDS: Final = 10.0
_AWAY: Final = frozenset(
    {
        *(sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR),
        *(sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_PROTOCOL),
    }
)


class SqliteSink:
    """Keeps rows in a table and, in the same transaction, positions in ``<table>_positions``.

    Args:
        path: the file; made where it is missing, its folder too.
        table: a name, as the user gave it.
        topic: which log the positions are of.
    """

    most_rows = 5_000
    linger = 0.2

    def __init__(self, path: Path, table: str, topic: str) -> None:
        self._path = path
        self._topic = topic
        self._table = _quoted(table)
        self._positions = _quoted(f"{table}_positions")
        self._refused = _quoted(f"{table}_refused")
        self._epochs: dict[int, int] = {}
        self._connection: sqlite3.Connection | None = None
        columns = ", ".join(COLUMNS)
        places = ", ".join("?" for _ in COLUMNS)
        updates = ", ".join(f"{name} = excluded.{name}" for name in COLUMNS[2:])
        self._upsert = (
            f"INSERT INTO {self._table} ({columns}) VALUES ({places})"  # noqa: S608  (names are quoted, values bound)
            f" ON CONFLICT (task_id, generation) DO UPDATE SET {updates}"
        )

    def open(self) -> None:
        """Connect, and create what is missing."""
        if self._connection is not None:
            return
        with _translated(self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(self._path, timeout=_BUSY_SECONDS, isolation_level=None)
            try:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = FULL")
                for statement in self._tables():
                    connection.execute(statement)
            except sqlite3.Error:
                connection.close()
                raise
            self._connection = connection

    def claim(self, partition: int) -> int | None:
        """Take a partition over; answers the offset to go on at."""
        with self._transaction() as connection:
            found = connection.execute(
                f"INSERT INTO {self._positions} (topic, partition, epoch) VALUES (?, ?, 1)"  # noqa: S608  (quoted)
                " ON CONFLICT (topic, partition) DO UPDATE SET epoch = epoch + 1 RETURNING epoch, next_offset",
                (self._topic, partition),
            ).fetchall()
        ((epoch, next_offset),) = found
        self._epochs[partition] = epoch
        return None if next_offset is None else int(next_offset)

    def write(self, batch: Batch) -> int:
        """Keep everything of ``batch``, or nothing of it."""
        with self._transaction() as connection:
            return sum(self._write_part(connection, partition, part) for partition, part in batch.items())

    def release(self, partitions: Iterable[int]) -> None:
        """Let go of partitions."""
        for partition in partitions:
            self._epochs.pop(partition, None)

    def close(self) -> None:
        """Disconnect."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):  # nothing is open: every transaction has ended
                connection.close()

    def _write_part(self, connection: sqlite3.Connection, partition: int, part: Part) -> int:
        epoch, kept = connection.execute(
            f"SELECT epoch, next_offset FROM {self._positions} WHERE topic = ? AND partition = ?",  # noqa: S608
            (self._topic, partition),
        ).fetchone() or (None, None)
        if epoch is None or epoch != self._epochs.get(partition):
            raise SinkFencedError(partition, f"{self._topic}-{partition}: somebody else writes it to {self._path} now")
        new = part.since(kept or 0)
        connection.executemany(self._upsert, map(_bound, new.rows))
        now = _time(datetime.now(UTC))
        connection.executemany(
            f"INSERT INTO {self._refused} VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",  # noqa: S608  (quoted)
            [(self._topic, each.partition, each.offset, each.reason, each.value, now) for each in new.refused],
        )
        connection.execute(
            f"UPDATE {self._positions} SET next_offset = max(?, coalesce(next_offset, 0)), updated_at = ?"  # noqa: S608
            " WHERE topic = ? AND partition = ?",
            (part.next_offset, now, self._topic, partition),
        )
        return len(new.rows)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        self.open()
        connection = self._connection
        if connection is None:
            raise SinkUnavailableError(f"{self._path} is not open")
        with _translated(self._path):
            # Taken at once: epochs that were read hold until the end.
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    def _tables(self) -> tuple[str, ...]:
        rows = (
            "task_id TEXT NOT NULL, generation INTEGER NOT NULL, type TEXT NOT NULL, priority TEXT NOT NULL,"
            " state TEXT NOT NULL, result TEXT NOT NULL, error TEXT, attempt INTEGER NOT NULL,"
            " max_attempts INTEGER NOT NULL, created_at TEXT NOT NULL, started_at TEXT, finished_at TEXT NOT NULL,"
            " labels TEXT NOT NULL, ordering_key TEXT, replay_id TEXT, worker TEXT,"
            " log_partition INTEGER NOT NULL, log_offset INTEGER NOT NULL, PRIMARY KEY (task_id, generation)"
        )
        positions = (
            "topic TEXT NOT NULL, partition INTEGER NOT NULL, epoch INTEGER NOT NULL, next_offset INTEGER,"
            " updated_at TEXT, PRIMARY KEY (topic, partition)"
        )
        refused = (
            'topic TEXT NOT NULL, partition INTEGER NOT NULL, "offset" INTEGER NOT NULL, reason TEXT NOT NULL,'
            ' value BLOB, refused_at TEXT NOT NULL, PRIMARY KEY (topic, partition, "offset")'
        )
        tables = {self._table: rows, self._positions: positions, self._refused: refused}
        return tuple(f"CREATE TABLE IF NOT EXISTS {name} ({columns})" for name, columns in tables.items())


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        told = f"SQLite file {path}: {error}"
        code = getattr(error, "sqlite_errorcode", None)
        if code is not None and code & 0xFF in _AWAY:
            raise SinkUnavailableError(told) from error
        raise SinkError(told) from error


def _bound(row: Row) -> tuple[str | int | None, ...]:
    return tuple(_time(each) if isinstance(each, datetime) else each for each in row)


def _time(at: datetime) -> str:
    """One width for all, so that text sorts as time does."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
