"""A page of tasks: its filters, its cursor, and how it is found without looking at every task."""

import base64
import heapq
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from itertools import product
from typing import Final

import msgspec

from ingest.view.schema import microseconds
from schemas.errors import MalformedRequestError
from schemas.status import State
from schemas.task import Priority

MAX_LIMIT: Final = 1_000
BUDGET_SECONDS: Final = 0.02
"""After so long a page ends where the search stands."""
_LOOKS: Final = 256
"""Tasks between two looks at the clock, and the least that a page gets ahead."""
_CURSOR: Final = msgspec.json.Decoder(tuple[int, str])

_Key = tuple[int, str]
"""``created_at`` and id, the order of every listing."""
_Found = tuple[int, str, bytes | None]
"""A key, and the document of a task that fits."""


@dataclass(frozen=True, kw_only=True)
class Listing:
    """Which tasks, newest first, and from where on."""

    type: str | None = None
    state: State | None = None
    priority: Priority | None = None
    labels: dict[str, str] = field(default_factory=dict)
    since: datetime | None = None
    """Accepted at this time or later."""
    until: datetime | None = None
    """Accepted before this time."""
    q: str | None = None
    """Part of the type, of the latest error or of a label; upper and lower case are the same."""
    limit: int = 50
    cursor: str | None = None


@dataclass(frozen=True)
class Page:
    """Status documents as bytes, and the cursor of the next page where there may be one."""

    documents: list[bytes]
    cursor: str | None


def read_page(connection: sqlite3.Connection, listing: Listing, *, clock: Callable[[], float] = time.monotonic) -> Page:
    """The page that ``listing`` asks for.

    Type, state, priority, times and one label are read off an index, so a page of them is full wherever its tasks lie.
    What is beyond that (``q``, a second label, a label with one of the others) is looked for task by task and for a
    bounded time: then the page ends early, with fewer tasks than its limit, or none, and a cursor to go on from.

    Ordering: newest first by (created_at, id). Tasks that arrive meanwhile are newer than the cursor, so they neither
        shift nor repeat what follows it.

    Blocking: for ``BUDGET_SECONDS`` and as long as the documents of a page take, however many tasks there are.

    Raises:
        MalformedRequestError: the cursor is none of ours.
    """
    documents: list[bytes] = []
    last: _Key | None = None
    deadline = clock() + BUDGET_SECONDS
    # One state of the file for the whole page.
    connection.execute("BEGIN")
    try:
        for looked, (created_at, task_id, document) in enumerate(_search(connection, listing), 1):
            if document is not None:
                if len(documents) == listing.limit:  # one more than asked for: another page follows
                    return Page(documents, last and _cursor(*last))
                documents.append(document)
            last = created_at, task_id
            if looked % _LOOKS == 0 and clock() > deadline:
                return Page(documents, _cursor(*last))
        return Page(documents, None)
    finally:
        connection.execute("ROLLBACK")


def _search(connection: sqlite3.Connection, listing: Listing) -> Iterator[_Found]:
    """Every task in question in the order of the listing, those that do not fit without their document."""
    span, bounds = _span(listing)
    fits, values = "", list[object]()
    if listing.q:
        fits, values = "(instr(t.type, ?) > 0 OR instr(t.search, ?) > 0)", [listing.q.lower()] * 2
    labels = list(listing.labels.items())
    kinds = [
        (column, wanted.value if isinstance(wanted, State | Priority) else wanted)
        for column, wanted in (("type", listing.type), ("state", listing.state), ("priority", listing.priority))
        if wanted is not None
    ]
    if not labels and not kinds:
        document = f"CASE WHEN {fits} THEN t.document END" if fits else "t.document"
        yield from connection.execute(
            f"SELECT t.created_at, t.id, {document} FROM tasks t WHERE {span} {_ORDER}",  # noqa: S608  (our own words)
            [*values, *bounds],
        )
        return
    clauses = [fits] if fits else []
    keys: Iterable[_Key]
    if labels:
        # The first label leads, in its own order; everything else is looked up for each task that it finds.
        keys = connection.execute(
            f"SELECT created_at, id FROM labels WHERE name = ? AND value = ? AND {span} {_ORDER}",  # noqa: S608
            [*labels[0], *bounds],
        )
        for column, wanted in kinds:
            clauses.append(f"t.{column} = ?")
            values.append(wanted)
        for name, value in labels[1:]:
            clauses.append(
                "EXISTS (SELECT 1 FROM labels o WHERE o.name = ? AND o.value = ?"
                " AND o.created_at = t.created_at AND o.id = t.id)"
            )
            values += [name, value]
    else:
        keys = _by_kind(connection, listing, span, bounds)
    where = " AND ".join(["t.created_at = ? AND t.id = ?", *clauses])
    for key in keys:
        row = connection.execute(f"SELECT t.document FROM tasks t WHERE {where}", [*key, *values]).fetchone()  # noqa: S608
        yield (*key, row[0] if row else None)


_ORDER: Final = "ORDER BY created_at DESC, id DESC"


def _by_kind(connection: sqlite3.Connection, listing: Listing, span: str, bounds: list[object]) -> Iterator[_Key]:
    """Keys by type, state and priority: each combination lies sorted in one index, and they are merged."""
    types = [listing.type] if listing.type is not None else _types(connection)
    states = [listing.state] if listing.state is not None else list(State)
    priorities = [listing.priority] if listing.priority is not None else list(Priority)
    statement = (
        "SELECT created_at, id FROM tasks INDEXED BY tasks_by_kind"  # noqa: S608
        f" WHERE type = ? AND state = ? AND priority = ? AND {span} {_ORDER}"
    )
    runs = [
        connection.execute(statement, [name, state.value, priority.value, *bounds])
        for name, state, priority in product(types, states, priorities)
    ]
    return heapq.merge(*runs, reverse=True)


def _types(connection: sqlite3.Connection) -> list[str]:
    """Every type that any task has, by one step in the index for each."""
    return [
        row[0]
        for row in connection.execute(
            "WITH RECURSIVE known (type) AS (SELECT min(type) FROM tasks UNION ALL"
            " SELECT (SELECT min(type) FROM tasks WHERE type > known.type) FROM known WHERE known.type IS NOT NULL)"
            " SELECT type FROM known WHERE type IS NOT NULL"
        )
    ]


def _span(listing: Listing) -> tuple[str, list[object]]:
    """Between which keys the page lies."""
    clauses: list[str] = []
    bounds: list[object] = []
    if listing.since is not None:
        clauses.append("created_at >= ?")
        bounds.append(microseconds(listing.since))
    until = None if listing.until is None else microseconds(listing.until)
    before = None if listing.cursor is None else _read_cursor(listing.cursor)
    # Of two upper bounds SQLite seeks to either one, and passes over what lies between: say the lower one alone.
    if before is not None and (until is None or before[0] < until):
        clauses.append("(created_at, id) < (?, ?)")
        bounds += before
    elif until is not None:
        clauses.append("created_at < ?")
        bounds.append(until)
    return " AND ".join(clauses) or "TRUE", bounds


def _cursor(created_at: int, task_id: str) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode((created_at, task_id))).rstrip(b"=").decode()


def _read_cursor(cursor: str) -> _Key:
    try:
        return _CURSOR.decode(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except ValueError as error:
        raise MalformedRequestError(f"cursor {cursor[:80]!r} is none that a page of ours answered") from error
