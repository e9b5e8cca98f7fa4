"""The view's file: its tables, and what makes a file that is there worth going on with."""

import contextlib
import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from laneway.machine import boot_id

VERSION: Final = 7
"""Raised by any change of the tables: a file of another version is built anew from the log."""

RETENTION_DAYS: Final = 7
TaskRow = tuple[int, str, str, str, str, int, bytes, str, bytes, str | None]
"""A row of `tasks`."""

_TABLES: Final = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
-- Offset of the next record that the view has not applied, in the same transaction as what the records changed.
CREATE TABLE positions (partition INTEGER PRIMARY KEY, next INTEGER NOT NULL);
-- In the order of the listing, which therefore needs no index of its own.
CREATE TABLE tasks (
    created_at INTEGER NOT NULL,  -- microseconds since 1970, as all times here
    id TEXT NOT NULL,
    type TEXT NOT NULL,
    priority TEXT NOT NULL,
    state TEXT NOT NULL,
    updated_at INTEGER NOT NULL,
    step BLOB NOT NULL,           -- how far the task is, so that SQLite can tell which of two statuses is ahead
    search TEXT NOT NULL,         -- latest error and labels in lower case, for `q`
    document BLOB NOT NULL,       -- the record's value as it lay in the log
    open_key TEXT,                -- its ordering key until it is final
    PRIMARY KEY (created_at, id)
) WITHOUT ROWID;
CREATE UNIQUE INDEX tasks_by_id ON tasks (id);
-- Serves every choice of the three: a listing merges the combinations that it asks for.
CREATE INDEX tasks_by_kind ON tasks (type, state, priority, created_at, id);
-- In each key the order of the table. Small, whatever the log holds: most tasks have no key, and those that have one
-- end. What a status changes is not in it, so that it is written at the begin and the end of a task alone.
CREATE INDEX tasks_by_key ON tasks (open_key, type, priority) WHERE open_key IS NOT NULL;
-- How many tasks there are, in the same transactions as these.
CREATE TABLE counts (
    type TEXT NOT NULL, priority TEXT NOT NULL, state TEXT NOT NULL, number INTEGER NOT NULL,
    PRIMARY KEY (type, priority, state)
) WITHOUT ROWID;
-- Primary key in the order of a listing by label, so that a page is read off without sorting.
CREATE TABLE labels (
    name TEXT NOT NULL, value TEXT NOT NULL, created_at INTEGER NOT NULL, id TEXT NOT NULL,
    PRIMARY KEY (name, value, created_at, id)
) WITHOUT ROWID;
-- What the latest transactions changed, for readers that wait for tasks: ids, one a line. NULL: too many to tell.
CREATE TABLE changes (seq INTEGER PRIMARY KEY AUTOINCREMENT, ids TEXT);
-- Tasks whose last record in the log is not their furthest; each with its partition of `status`.
CREATE TABLE behind (id TEXT NOT NULL PRIMARY KEY, partition INTEGER NOT NULL) WITHOUT ROWID;
-- The first claim in the log on each id that has no status yet.
CREATE TABLE claims (id TEXT NOT NULL PRIMARY KEY, created_at INTEGER NOT NULL, document BLOB NOT NULL) WITHOUT ROWID;
"""


def database(data_dir: Path) -> Path:
    """Where the view of a data directory lies."""
    return data_dir / "view" / "status.db"


def microseconds(at: datetime) -> int:
    """A time as the tables hold it."""
    return round(at.timestamp() * 1_000_000)


def moment(value: int) -> datetime:
    """A time from the tables."""
    return datetime.fromtimestamp(value / 1_000_000, UTC)


def connect(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """A connection in autocommit mode; transactions are begun by name.

    Raises:
        sqlite3.Error: the file is not there (read only) or is no database.
    """
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={'ro' if read_only else 'rwc'}",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        timeout=5.0,
    )
    try:
        # No mmap: a file that somebody truncates must be an error to handle, not a SIGBUS.
        connection.execute("PRAGMA cache_size = -16384")
        if read_only:
            connection.execute("SELECT count(*) FROM meta").fetchone()
        else:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA journal_size_limit = 67108864")
            connection.execute("PRAGMA wal_autocheckpoint = 4000")
            # From `occupy` on it is off.
            connection.execute("PRAGMA synchronous = FULL")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def create(connection: sqlite3.Connection, identity: str) -> None:
    """Make the tables of an empty file for the topic of ``identity``."""
    connection.executescript(f"BEGIN IMMEDIATE; {_TABLES}")
    connection.executemany("INSERT INTO meta VALUES (?, ?)", [("version", str(VERSION)), ("identity", identity)])
    connection.execute("COMMIT")


def occupy(connection: sqlite3.Connection) -> None:
    """Begin to write without waiting for the disk, which under load takes longer than readers may wait.

    What a process wrote is there although it is killed; only a machine that goes down takes what is not on the disk.
    So the file says which start of the machine it is written under, until ``leave``: under another start it is built
    anew. Where the system does not tell one start from another, the disk is waited for at checkpoints.
    """
    boot = boot_id()
    connection.execute("INSERT OR REPLACE INTO meta VALUES ('boot', ?)", (boot,))
    # A power cut may take the last transactions then; their records are read from the log again.
    connection.execute("PRAGMA synchronous = OFF" if boot else "PRAGMA synchronous = NORMAL")


def leave(connection: sqlite3.Connection) -> None:
    """Have everything on the disk: the file is worth going on with after any start of the machine.

    Where a reader holds that up, it stays one of this start.
    """
    connection.execute("PRAGMA synchronous = FULL")
    # Where nothing is left to copy a checkpoint does not wait for the disk either: this leaves it something.
    connection.execute("INSERT OR REPLACE INTO meta VALUES ('boot', ?)", (boot_id(),))
    held_up = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    if not held_up:
        connection.execute("INSERT OR REPLACE INTO meta VALUES ('boot', '')")


def stale(connection: sqlite3.Connection, identity: str) -> str | None:
    """Why a file cannot be gone on with, or ``None`` when it can.

    Raises:
        sqlite3.DatabaseError: the file is damaged.
    """
    tables = connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'meta'").fetchone()[0]
    if not tables:
        return "empty"
    if connection.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
        raise sqlite3.DatabaseError("quick_check found damage")
    meta = dict(connection.execute("SELECT name, value FROM meta"))
    if meta.get("version") != str(VERSION):
        return f"its tables are of version {meta.get('version')}, ours of {VERSION}"
    if meta.get("identity") != identity:
        return "it was built from another cluster or topic"
    if meta.get("boot", "") not in ("", boot_id()):
        return "the machine went down while it was written"
    return None


def remove(path: Path) -> None:
    """Delete a view's file and what SQLite keeps beside it."""
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def set_aside(path: Path) -> Path:
    """Move a damaged file away, for whoever wants to know why; only the latest is kept.

    Returns:
        Where it lies now.
    """
    aside = path.with_name(path.name + ".damaged")
    with contextlib.suppress(FileNotFoundError):
        path.replace(aside)
    remove(path)
    return aside
