"""The writing side of the view: status records in, rows out, offsets in the same transaction."""

import contextlib
import sqlite3
import struct
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, NamedTuple

import structlog

from ingest.view import schema
from ingest.view.counts import CountChanges
from schemas.codec import decode
from schemas.errors import UndecodableRecordError
from schemas.status import State, Status, order
from schemas.topics import DEAD_LETTER_RETENTION, partition_of, position

log = structlog.get_logger(__name__)

RETENTION: Final = timedelta(days=schema.RETENTION_DAYS)
REPLAYED_RETENTION: Final = DEAD_LETTER_RETENTION
"""Of what was replayed: as long as its dead letter is there, it has to be known for redriven."""
KEPT_CHANGES: Final = 500
"""Transactions whose changes can be read back."""
TOLD_CHANGES: Final = 2_000
"""Changes of one transaction from which on it only says that there were many."""
PRUNE_STEP: Final = 2_000
"""Tasks that one step of the pruning looks at: a few milliseconds, and 30 to 50 where all of them go."""
WAL_LIMIT: Final = 256 * 1024 * 1024
_READERS_MS: Final = 250
_START: Final = (-(2**63), "")


_STEP_FORM: Final = struct.Struct(">IIIBQQ")
_REPLAYED: Final = (2).to_bytes(4, "big")
"""Steps of further generations are not less."""
_STEP: Final = 6
"""Place of the step in a row."""


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

    def __init__(self, path: Path, identity: str, partitions: int) -> None:
        self._partitions = partitions
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._connection = self._open(identity)
        schema.occupy(self._connection)
        self._wal = path.with_name(path.name + "-wal")
        self.next_bound = WAL_LIMIT
        self._pruned_to: tuple[int, str] = _START
        self._claims_pruned_to = ""
        self.behind: dict[str, int] = dict(self._connection.execute("SELECT id, partition FROM behind"))
        """Tasks whose last record in the log is not their furthest, each with its partition of ``status``."""

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
            changes = _Changes()
            for record in records:
                try:
                    self._take(record, changes, oldest)
                except (UndecodableRecordError, UnicodeDecodeError, struct.error) as error:
                    where = position(topic, record.partition, record.offset)
                    log.warning("no status record: skipped", position=where, reason=str(error))
            self._write(changes)
            connection.executemany(
                "INSERT INTO positions VALUES (?, ?) ON CONFLICT (partition) DO UPDATE SET next = excluded.next",
                positions.items(),
            )
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        return len(changes.rows) + len(changes.deleted)

    def prune(self, now: datetime) -> bool:
        """Take the next step through what is old, and delete the tasks that ended longer than the retention ago.

        A step looks at a bounded number of tasks, from where the last one stopped: those that are old and still wait
        are passed over once in a round, not at every step. What is freed is used for what comes next, so that the file
        stays as large as it was when it held most.

        Returns:
            Whether the round goes on with the next call; else that begins a new one.
        """
        cutoff = schema.microseconds(now - RETENTION)
        connection = self._connection
        rows = connection.execute(
            "SELECT created_at, id, state, updated_at, step FROM tasks"
            " WHERE (created_at, id) > (?, ?) AND created_at < ? ORDER BY created_at, id LIMIT ?",
            (*self._pruned_to, cutoff, PRUNE_STEP),
        ).fetchall()
        claims = [
            row[0]
            for row in connection.execute(
                "SELECT id FROM claims WHERE id > ? ORDER BY id LIMIT ?", (self._claims_pruned_to, PRUNE_STEP)
            )
        ]
        replayed_cutoff = schema.microseconds(now - REPLAYED_RETENTION)
        gone = [
            task_id
            for _, task_id, state, updated_at, step in rows
            if State(state).final and updated_at < (cutoff if step < _REPLAYED else replayed_cutoff)
        ]
        if gone or claims:
            connection.execute("BEGIN IMMEDIATE")
            try:
                counts = CountChanges()
                self._delete(gone, counts)
                counts.write(connection)
                connection.executemany(
                    "DELETE FROM claims WHERE id = ? AND (created_at < ? OR EXISTS (SELECT 1 FROM tasks WHERE id = ?))",
                    [(each, cutoff, each) for each in claims],
                )
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
        goes_on = max(len(rows), len(claims)) == PRUNE_STEP
        if not goes_on:
            self._pruned_to, self._claims_pruned_to = _START, ""
            return False
        if rows:
            self._pruned_to = rows[-1][:2]
        if claims:
            self._claims_pruned_to = claims[-1]
        return True

    def bound_log(self) -> None:
        """Have SQLite begin its write-ahead log anew where that has grown beyond ``WAL_LIMIT``.

        By itself it does so only in a moment when nobody reads, which may not come while reads overlap without end.

        Blocking: for the reads that are under way, ``_READERS_MS`` at most.
        """
        try:
            size = self._wal.stat().st_size
        except FileNotFoundError:
            return
        if size < self.next_bound:
            return
        self._connection.execute(f"PRAGMA busy_timeout = {_READERS_MS}")
        try:
            held_up = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        finally:
            self._connection.execute("PRAGMA busy_timeout = 5000")
        # A reader that does not end must not cost the writer a wait with every transaction.
        self.next_bound = size * 2 if held_up else WAL_LIMIT
        if held_up:
            log.warning("status view: a reader keeps the write-ahead log from being cut", bytes=size)

    def close(self) -> None:
        """Have everything on the disk, and release the file."""
        with contextlib.suppress(sqlite3.Error):  # a damaged one is found out when it is opened next
            schema.leave(self._connection)
        self._connection.close()

    def _take(self, record: StatusRecord, changes: "_Changes", oldest: datetime) -> None:
        if record.value is None:
            if record.key is not None:
                task_id = record.key.decode()
                changes.rows.pop(task_id, None)
                changes.deleted.add(task_id)
            return
        status = decode(record.value, Status)
        task_id = status.id
        step = _step(status)
        pending = changes.rows.get(task_id)
        # The claim of a task with an ordering key lies where its id says, maybe not where its statuses do.
        if not status.claim or record.partition == partition_of(status.ordering_key or task_id, self._partitions):
            changes.last[task_id] = (record.partition, step)
        if status.claim:
            if status.created_at >= oldest:
                claim = (task_id, schema.microseconds(status.created_at), record.value)
                changes.claims.setdefault(task_id, claim)
            return
        if pending is not None:
            if step <= pending[_STEP]:
                return
        elif (
            status.state.final
            and _too_old(status, oldest)
            and task_id not in changes.deleted
            and self.document(task_id) is None
        ):
            return
        if status.generation > 1 and task_id not in changes.deleted and self._replaces(status, step):
            # Another generation may have other labels, and be of another time.
            changes.deleted.add(task_id)
        changes.labels.pop(task_id, None)
        if status.labels:
            changes.labels[task_id] = status.labels
        changes.rows[task_id] = (
            schema.microseconds(status.created_at),
            task_id,
            status.type,
            status.priority.value,
            status.state.value,
            schema.microseconds(status.updated_at),
            step,
            _search_text(status) if status.labels or status.error is not None else "",
            record.value,
            None if status.state.final else status.ordering_key,
        )
        if status.ordering_key is not None and status.state.final:
            changes.ended.append(changes.rows[task_id][:2])

    def document(self, task_id: str) -> bytes | None:
        """The furthest status of a task."""
        row = self._connection.execute("SELECT document FROM tasks WHERE id = ?", (task_id,)).fetchone()
        return row[0] if row else None

    def _replaces(self, status: Status, step: bytes) -> bool:
        row = self._connection.execute("SELECT step FROM tasks WHERE id = ?", (status.id,)).fetchone()
        return row is not None and row[0] < step

    def _stands(self, row: schema.TaskRow) -> bool:
        found = self._connection.execute("SELECT step FROM tasks WHERE id = ?", (row[1],)).fetchone()
        return found is not None and found[0] == row[_STEP]

    def _write(self, changes: "_Changes") -> None:
        connection = self._connection
        counts = CountChanges()
        self._delete(list(changes.deleted), counts)
        counts.coming(connection, changes.rows)
        counts.write(connection)
        # What is not ahead changes nothing, and nobody needs to have read it to know. A task's type, priority and time
        # stay what they are, so that an update leaves their indexes alone.
        before = connection.total_changes
        connection.executemany(
            "INSERT INTO tasks VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
            " state = excluded.state, updated_at = excluded.updated_at, step = excluded.step, search = excluded.search,"
            " document = excluded.document WHERE excluded.step > step",
            # In the table's order, which is nearly that of coming in: the tree grows at its end.
            sorted(changes.rows.values()),
        )
        none_refused = connection.total_changes - before == len(changes.rows)
        connection.executemany(
            "UPDATE tasks SET open_key = NULL WHERE (created_at, id) = (?, ?) AND open_key IS NOT NULL"
            " AND state IN ('succeeded', 'dead_lettered', 'cancelled', 'expired')",
            changes.ended,
        )
        self._compare(changes, none_refused=none_refused)
        connection.executemany("INSERT OR IGNORE INTO claims VALUES (?, ?, ?)", changes.claims.values())
        if changes.labels:
            connection.executemany(
                "INSERT OR IGNORE INTO labels VALUES (?, ?, ?, ?)",
                [
                    (name, value, changes.rows[task_id][0], task_id)
                    for task_id, labels in changes.labels.items()
                    # A late record of an earlier generation must not bring back the labels of that.
                    if task_id in changes.rows and (none_refused or self._stands(changes.rows[task_id]))
                    for name, value in labels.items()
                ],
            )
        self._note({*changes.rows, *changes.deleted})

    def _compare(self, changes: "_Changes", *, none_refused: bool) -> None:
        """Find the tasks whose last record in the log is behind what is known of them."""
        for task_id, (partition, step) in changes.last.items():
            row = changes.rows.get(task_id)
            behind = False
            if not none_refused or row is None or row[_STEP] != step:
                found = self._connection.execute("SELECT step FROM tasks WHERE id = ?", (task_id,)).fetchone()
                behind = found is not None and found[0] > step
            if behind:
                self.behind[task_id] = partition
                self._connection.execute("INSERT OR REPLACE INTO behind VALUES (?, ?)", (task_id, partition))
            elif self.behind.pop(task_id, None) is not None:
                self._connection.execute("DELETE FROM behind WHERE id = ?", (task_id,))

    def _note(self, changed: Collection[str]) -> None:
        if changed:
            ids = "\n".join(changed) if len(changed) <= TOLD_CHANGES else None
            seq = self._connection.execute("INSERT INTO changes (ids) VALUES (?)", (ids,)).lastrowid or 0
            self._connection.execute("DELETE FROM changes WHERE seq <= ?", (seq - KEPT_CHANGES,))

    def _delete(self, ids: Sequence[str], counts: CountChanges) -> None:
        for task_id in ids:
            row = self._connection.execute(
                "SELECT document, type, priority, state FROM tasks WHERE id = ?", (task_id,)
            ).fetchone()
            if row is None:
                continue
            counts.gone(*row[1:])
            self._delete_labels(decode(row[0], Status))
            self._connection.execute("DELETE FROM tasks WHERE id = ?", (task_id,))

    def _delete_labels(self, status: Status) -> None:
        created_at = schema.microseconds(status.created_at)
        self._connection.executemany(
            "DELETE FROM labels WHERE name = ? AND value = ? AND created_at = ? AND id = ?",
            [(name, value, created_at, status.id) for name, value in status.labels.items()],
        )


def _too_old(status: Status, oldest: datetime) -> bool:
    return status.updated_at < (oldest if status.generation == 1 else oldest + RETENTION - REPLAYED_RETENTION)


class _Changes:
    """What a transaction is about to do."""

    def __init__(self) -> None:
        self.rows: dict[str, schema.TaskRow] = {}
        self.labels: dict[str, dict[str, str]] = {}
        self.ended: list[tuple[int, str]] = []
        """Primary keys of those with an ordering key that have ended."""
        self.deleted: set[str] = set()
        """Rows to go before others are written."""
        self.last: dict[str, tuple[int, bytes]] = {}
        """Partition and step of the last record of each task."""
        self.claims: dict[str, tuple[str, int, bytes]] = {}
        """Rows of the first claims."""


def _step(status: Status) -> bytes:
    """``schemas.status.supersedes`` as bytes: a status is ahead of another when its step is greater."""
    began = updated = 0
    if status.state is State.RUNNING:
        began = schema.microseconds(status.started_at or status.created_at)
        updated = schema.microseconds(status.updated_at)
    return _STEP_FORM.pack(*order(status), began, updated)


def _search_text(status: Status) -> str:
    parts: list[str] = []
    if status.error is not None:
        parts += [status.error.type, status.error.message]
    for name, value in status.labels.items():
        parts += [name, value]
    return "\n".join(parts).lower()
