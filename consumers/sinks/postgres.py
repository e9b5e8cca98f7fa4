"""Outcomes in PostgreSQL."""

import contextlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from consumers.sinks.address import redacted
from consumers.sinks.sink import COLUMNS, Batch, Part, Refused, Row
from schemas.errors import ConfigurationError, SinkError, SinkFencedError, SinkUnavailableError

if TYPE_CHECKING:
    from typing import LiteralString

    from psycopg import Connection, Cursor
    from psycopg.sql import Composed

_CONNECT_SECONDS: Final = 10
_AWAY: Final = ("08", "40", "53", "57", "58", "55P03", "25P03")
"""SQLSTATE classes, and single ones, of what passes: connections, conflicts, resources, an operator, the system."""
_NOT_THIS_ROW: Final = ("22", "23", "54")
"""Of rows that the table does not take: data, constraints, limits."""
_SESSION: Final = (
    "-c lock_timeout=10s"
    # A frozen owner must not keep its successor from the partitions.
    " -c idle_in_transaction_session_timeout=60s"
)


class PostgresSink:
    """Keeps rows in a table and, in the same transaction, positions in ``<table>_positions``.

    Args:
        url: ``postgresql://…``, as libpq takes it.
        table: a name, with its schema before a dot or without.
        topic: which log the positions are of.

    Raises:
        ConfigurationError: the driver is not installed.
    """

    most_rows = 5_000
    linger = 0.2

    def __init__(self, url: str, table: str, topic: str) -> None:
        try:
            import psycopg
        except ImportError as error:
            raise ConfigurationError(
                "--sink", "postgresql", "the driver to be installed: pip install 'laneway[postgres]'"
            ) from error
        self._psycopg = psycopg
        self._url = url
        self._shown = redacted(url)
        self._secrets = [each for each in (urlsplit(url).password,) if each]
        self._topic = topic
        *schema, name = table.split(".", 1)
        self._names = {
            "table": psycopg.sql.Identifier(*schema, name),
            "positions": psycopg.sql.Identifier(*schema, f"{name}_positions"),
            "refused": psycopg.sql.Identifier(*schema, f"{name}_refused"),
        }
        self._epochs: dict[int, int] = {}
        self._connection: Connection[Any] | None = None
        self._upsert = self._statement(
            "INSERT INTO {table} ({columns}) VALUES ({places})"
            " ON CONFLICT (task_id, generation) DO UPDATE SET {updates}"
        )

    def open(self) -> None:
        """Connect, and create what is missing."""
        if self._connection is not None and not self._connection.closed:
            return
        with self._translated():
            try:
                connection = self._psycopg.connect(
                    self._url,
                    autocommit=True,
                    connect_timeout=_CONNECT_SECONDS,
                    application_name="laneway results",
                    options=_SESSION,
                )
            except self._psycopg.ProgrammingError as error:
                wanted = f"an address that libpq takes ({self._safe(error)})"
                raise ConfigurationError("--sink", self._shown, wanted) from None
            try:
                with connection.transaction(), connection.cursor() as cursor:
                    # Two that create one table at once would hinder each other in the catalogue.
                    cursor.execute("SELECT pg_advisory_xact_lock(hashtext('laneway results'))")
                    for statement in _TABLES:
                        cursor.execute(self._statement(statement))
            except self._psycopg.Error:
                connection.close()
                raise
            self._connection = connection

    def claim(self, partition: int) -> int | None:
        """Take a partition over; answers the offset to go on at."""
        with self._transaction() as cursor:
            cursor.execute(
                self._statement(
                    'INSERT INTO {positions} AS known (topic, "partition", epoch, updated_at) VALUES (%s, %s, 1, now())'
                    ' ON CONFLICT (topic, "partition") DO UPDATE SET epoch = known.epoch + 1, updated_at = now()'
                    " RETURNING epoch, next_offset"
                ),
                (self._topic, partition),
            )
            ((epoch, next_offset),) = cursor.fetchall()
        self._epochs[partition] = epoch
        return None if next_offset is None else int(next_offset)

    def write(self, batch: Batch) -> int:
        """Keep everything of ``batch``, or nothing of it."""
        try:
            return self._write(batch, one_by_one=False)
        except _RowError:
            # Rare: find out which, each in a savepoint of its own, still in one transaction.
            return self._write(batch, one_by_one=True)

    def release(self, partitions: Iterable[int]) -> None:
        """Let go of partitions."""
        for partition in partitions:
            self._epochs.pop(partition, None)

    def close(self) -> None:
        """Disconnect."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(self._psycopg.Error):  # nothing is open: every transaction has ended
                connection.close()

    def _write(self, batch: Batch, *, one_by_one: bool) -> int:
        with self._transaction() as cursor:
            # In one order for all, so that two owners in the middle of a rebalance cannot wait for each other.
            return sum(self._write_part(cursor, each, batch[each], one_by_one=one_by_one) for each in sorted(batch))

    def _write_part(self, cursor: "Cursor[Any]", partition: int, part: Part, *, one_by_one: bool) -> int:
        cursor.execute(
            self._statement(
                'SELECT epoch, next_offset FROM {positions} WHERE topic = %s AND "partition" = %s FOR UPDATE'
            ),
            (self._topic, partition),
        )
        epoch, kept = cursor.fetchone() or (None, None)
        if epoch is None or epoch != self._epochs.get(partition):
            raise SinkFencedError(partition, f"{self._topic}-{partition}: somebody else writes it to {self._shown} now")
        new = part.since(kept or 0)
        refused = new.refused
        if one_by_one:
            refused = refused + self._each_alone(cursor, new.rows)
        elif new.rows:
            cursor.executemany(self._upsert, new.rows)
        if refused:
            cursor.executemany(
                self._statement("INSERT INTO {refused} VALUES (%s, %s, %s, %s, %s, now()) ON CONFLICT DO NOTHING"),
                [(self._topic, each.partition, each.offset, each.reason, each.value) for each in refused],
            )
        cursor.execute(
            self._statement(
                "UPDATE {positions} SET next_offset = greatest(%s, next_offset), updated_at = now()"
                ' WHERE topic = %s AND "partition" = %s'
            ),
            (part.next_offset, self._topic, partition),
        )
        return len(new.rows)

    def _each_alone(self, cursor: "Cursor[Any]", rows: list[Row]) -> list[Refused]:
        refused: list[Refused] = []
        for row in rows:
            try:
                with cursor.connection.transaction():
                    cursor.execute(self._upsert, row)
            except self._psycopg.Error as error:
                if not _is(error, _NOT_THIS_ROW) and not isinstance(error, self._psycopg.DataError):
                    raise
                reason = self._safe(error).replace("\0", "")
                refused.append(Refused(row.log_partition, row.log_offset, reason, row.to_json()))
        return refused

    @contextmanager
    def _transaction(self) -> Iterator["Cursor[Any]"]:
        self.open()
        connection = self._connection
        if connection is None:
            raise SinkUnavailableError(f"{self._shown} is not open")
        with self._translated(), connection.transaction(), connection.cursor() as cursor:
            yield cursor

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except self._psycopg.Error as error:
            told = f"PostgreSQL at {self._shown}: {self._safe(error)}"
            broken = self._connection is None or self._connection.broken or self._connection.closed
            if broken or (error.sqlstate is None and isinstance(error, self._psycopg.OperationalError)):
                self.close()
                raise SinkUnavailableError(told) from None
            if _is(error, _AWAY):
                raise SinkUnavailableError(told) from None
            if _is(error, _NOT_THIS_ROW) or isinstance(error, self._psycopg.DataError):
                raise _RowError(told) from None
            raise SinkError(told) from None

    def _safe(self, error: Exception) -> str:
        """What the error says, in one line and without the password."""
        text = " ".join(str(error).split())
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text

    def _statement(self, template: "LiteralString") -> "Composed":
        sql = self._psycopg.sql
        statement: Composed = sql.SQL(template).format(
            **self._names,
            columns=sql.SQL(", ").join(map(sql.Identifier, COLUMNS)),
            places=sql.SQL(", ").join([sql.Placeholder()] * len(COLUMNS)),
            updates=sql.SQL(", ").join(
                sql.SQL("{0} = excluded.{0}").format(sql.Identifier(name)) for name in COLUMNS[2:]
            ),
        )
        return statement


class _RowError(SinkError):
    """The table does not take one of the rows."""


def _is(error: Any, states: tuple[str, ...]) -> bool:
    return error.sqlstate is not None and error.sqlstate.startswith(states)


# `json`, not `jsonb`: it keeps what was published to the byte, and takes "\\u0000".
_ROWS: Final = (
    "CREATE TABLE IF NOT EXISTS {table} (task_id text NOT NULL, generation integer NOT NULL, type text NOT NULL,"
    " priority text NOT NULL, state text NOT NULL, result json NOT NULL, error json, attempt integer NOT NULL,"
    " max_attempts integer NOT NULL, created_at timestamptz NOT NULL, started_at timestamptz,"
    " finished_at timestamptz NOT NULL, labels json NOT NULL, ordering_key text, replay_id text, worker text,"
    " log_partition integer NOT NULL, log_offset bigint NOT NULL, PRIMARY KEY (task_id, generation))"
)
_POSITIONS: Final = (
    'CREATE TABLE IF NOT EXISTS {positions} (topic text NOT NULL, "partition" integer NOT NULL,'
    ' epoch bigint NOT NULL, next_offset bigint, updated_at timestamptz, PRIMARY KEY (topic, "partition"))'
)
_REFUSED: Final = (
    'CREATE TABLE IF NOT EXISTS {refused} (topic text NOT NULL, "partition" integer NOT NULL,'
    ' "offset" bigint NOT NULL, reason text NOT NULL, value bytea, refused_at timestamptz NOT NULL,'
    ' PRIMARY KEY (topic, "partition", "offset"))'
)
_TABLES: Final = (_ROWS, _POSITIONS, _REFUSED)
