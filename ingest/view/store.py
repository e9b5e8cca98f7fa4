"""The writing side of the view: status records in, rows out, offsets in the same transaction."""

import sqlite3
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, NamedTuple

import structlog

from ingest.view import schema
from schemas.codec import decode
from schemas.errors import UndecodableRecordError
from schemas.status import Status, supersedes
from schemas.topics import position

log = structlog.get_logger(__name__)

RETENTION: Final = timedelta(days=schema.RETENTION_DAYS)
KEPT_CHANGES: Final = 100_000
_PRUNED_AT_ONCE: Final = 2_000


class StatusRecord(NamedTuple):
    """A record of the ``status`` topic."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None


class ViewStore:
    """The one writer of a view's file.

    Ordering: a status that is not ahead of what is known changes nothing, so records may be applied twice.

    Raises:
        sqlite3.DatabaseError: (every method) the file is damaged.
    """

    def __init__(self, path: Path, identity: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._connection = self._open(identity)

    def _open(self, identity: str) -> sqlite3.Connection:
        """The file as it is where that is sound and of this topic, else a new one."""
        try:
            connection = schema.connect(self._path)
            try:
                reason = schema.stale(connection, identity)
            except sqlite3.DatabaseError:
                connection.close()
                raise
            if reason is None:
                return connection
            connection.close()
            if reason != "empty":
                log.warning("status view is built anew", reason=reason)
            schema.remove(self._path)
        except sqlite3.DatabaseError as error:
            log.error("status view is damaged: built anew", reason=str(error), kept=str(schema.set_aside(self._path)))
        connection = schema.connect(self._path)
        schema.create(connection, identity)
        return connection

    def positions(self) -> dict[int, int]:
        """Where to go on reading, by partition."""
        return dict(self._connection.execute("SELECT partition, next FROM positions"))

    def apply(self, topic: str, records: Iterable[StatusRecord], positions: dict[int, int]) -> int:
        """Apply records and the positions after them, all or nothing.

        Args:
            topic: for the log, where a record is not a status.
            records: in the order of each partition.
            positions: what to read next, by partition.

        Returns:
            How many tasks changed.
        """
        oldest = datetime.now(UTC) - RETENTION
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            changed: dict[str, tuple[Status, bytes] | None] = {}
            for record in records:
                try:
                    self._take(record, changed, oldest)
                except (UndecodableRecordError, UnicodeDecodeError) as error:
                    where = position(topic, record.partition, record.offset)
                    log.warning("no status record: skipped", position=where, reason=str(error))
            self._write(changed)
            connection.executemany(
                "INSERT INTO positions VALUES (?, ?) ON CONFLICT (partition) DO UPDATE SET next = excluded.next",
                positions.items(),
            )
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        return len(changed)

    def prune(self, now: datetime) -> int:
        """Delete tasks that ended longer than the retention ago, and old notes of change; bounded, so call it again.

        Returns:
            How many tasks were deleted; less than asked for means that none is left.
        """
        connection = self._connection
        cutoff = schema.microseconds(now - RETENTION)
        found = [
            row[0]
            for row in connection.execute(
                "SELECT id FROM tasks WHERE state IN ('succeeded', 'dead_lettered', 'cancelled', 'expired')"
                " AND created_at < ? AND updated_at < ? LIMIT ?",
                (cutoff, cutoff, _PRUNED_AT_ONCE),
            )
        ]
        connection.execute("BEGIN IMMEDIATE")
        self._delete(found)
        connection.execute(
            "DELETE FROM changes WHERE seq <= (SELECT max(seq) FROM changes) - ?",
            (KEPT_CHANGES,),
        )
        connection.execute("COMMIT")
        return len(found)

    def close(self) -> None:
        """Release the file."""
        self._connection.close()

    def _take(self, record: StatusRecord, changed: dict[str, tuple[Status, bytes] | None], oldest: datetime) -> None:
        if record.value is None:
            if record.key is not None:
                changed[record.key.decode()] = None
            return
        status = decode(record.value, Status)
        if status.id in changed:
            pending = changed[status.id]
            old = pending[0] if pending else None
        else:
            row = self._connection.execute("SELECT document FROM tasks WHERE id = ?", (status.id,)).fetchone()
            old = decode(row[0], Status) if row else None
        if old is None and status.state.final and status.updated_at < oldest:
            return
        if supersedes(status, old):
            if old is not None and (old.labels != status.labels or old.created_at != status.created_at):
                self._delete_labels(old)
            changed[status.id] = (status, record.value)

    def _write(self, changed: dict[str, tuple[Status, bytes] | None]) -> None:
        connection = self._connection
        self._delete([task_id for task_id, change in changed.items() if change is None])
        statuses = [change for change in changed.values() if change is not None]
        connection.executemany(
            "INSERT INTO tasks VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET"
            " type = excluded.type, priority = excluded.priority, state = excluded.state,"
            " created_at = excluded.created_at, updated_at = excluded.updated_at, search = excluded.search,"
            " document = excluded.document",
            [
                (
                    status.id,
                    status.type,
                    status.priority.value,
                    status.state.value,
                    schema.microseconds(status.created_at),
                    schema.microseconds(status.updated_at),
                    _search_text(status),
                    document,
                )
                for status, document in statuses
            ],
        )
        labels = [
            (name, value, schema.microseconds(status.created_at), status.id)
            for status, _ in statuses
            for name, value in status.labels.items()
        ]
        if labels:
            connection.executemany("INSERT OR IGNORE INTO labels VALUES (?, ?, ?, ?)", labels)
        connection.executemany("INSERT INTO changes (id) VALUES (?)", [(task_id,) for task_id in changed])

    def _delete(self, ids: Sequence[str]) -> None:
        for task_id in ids:
            row = self._connection.execute("SELECT document FROM tasks WHERE id = ?", (task_id,)).fetchone()
            if row is None:
                continue
            self._delete_labels(decode(row[0], Status))
            self._connection.execute("DELETE FROM tasks WHERE id = ?", (task_id,))

    def _delete_labels(self, status: Status) -> None:
        created_at = schema.microseconds(status.created_at)
        self._connection.executemany(
            "DELETE FROM labels WHERE name = ? AND value = ? AND created_at = ? AND id = ?",
            [(name, value, created_at, status.id) for name, value in status.labels.items()],
        )


def _search_text(status: Status) -> str:
    parts = [status.type]
    if status.error is not None:
        parts += [status.error.type, status.error.message]
    for name, value in status.labels.items():
        parts += [name, value]
    return "\n".join(parts).lower()
