"""A page of tasks: its filters, its cursor, its SQL."""

import base64
import sqlite3
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import msgspec

from ingest.view.schema import microseconds
from schemas.errors import MalformedRequestError
from schemas.status import State
from schemas.task import Priority

MAX_LIMIT: Final = 1_000
_CURSOR: Final = msgspec.json.Decoder(tuple[int, str])


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
    """Status documents as bytes, and the cursor of the next page where there is one."""

    documents: list[bytes]
    cursor: str | None


def read_page(connection: sqlite3.Connection, listing: Listing) -> Page:
    """The page that ``listing`` asks for.

    Ordering: newest first by (created_at, id). Tasks that arrive meanwhile are newer than the cursor, so they neither
        shift nor repeat what follows it.

    Raises:
        MalformedRequestError: the cursor is none of ours.
    """
    statement, parameters = _select(listing)
    rows = connection.execute(statement, parameters).fetchall()
    more = len(rows) > listing.limit
    rows = rows[: listing.limit]
    return Page([row[0] for row in rows], _cursor(rows[-1][1], rows[-1][2]) if more else None)


def _select(listing: Listing) -> tuple[str, list[object]]:
    source = "tasks t"
    clauses: list[str] = []
    parameters: list[object] = []
    clock = "t.created_at"
    labels = list(listing.labels.items())
    if labels:
        # The first label leads, in its own order; the others are looked up for each task that it finds.
        source = "labels l CROSS JOIN tasks t ON t.id = l.id"
        clock = "l.created_at"
        clauses.append("l.name = ? AND l.value = ?")
        parameters += labels[0]
        for name, value in labels[1:]:
            clauses.append(
                "EXISTS (SELECT 1 FROM labels o WHERE o.name = ? AND o.value = ?"
                " AND o.created_at = t.created_at AND o.id = t.id)"
            )
            parameters += [name, value]
    task_id = "l.id" if labels else "t.id"
    for column, wanted in (("type", listing.type), ("state", listing.state), ("priority", listing.priority)):
        if wanted is not None:
            clauses.append(f"t.{column} = ?")
            parameters.append(str(wanted))
    if listing.since is not None:
        clauses.append(f"{clock} >= ?")
        parameters.append(microseconds(listing.since))
    if listing.until is not None:
        clauses.append(f"{clock} < ?")
        parameters.append(microseconds(listing.until))
    if listing.q:
        clauses.append("(instr(t.type, ?) > 0 OR instr(t.search, ?) > 0)")
        parameters += [listing.q.lower()] * 2
    if listing.cursor:
        clauses.append(f"({clock}, {task_id}) < (?, ?)")
        parameters += _read_cursor(listing.cursor)
    where = f" WHERE {' AND '.join(clauses)}" if clauses else ""
    # One row more than asked for tells whether another page follows.
    parameters.append(listing.limit + 1)
    statement = (
        f"SELECT t.document, t.created_at, t.id FROM {source}{where}"  # noqa: S608  (only our own words)
        f" ORDER BY {clock} DESC, {task_id} DESC LIMIT ?"
    )
    return statement, parameters


def _cursor(created_at: int, task_id: str) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode((created_at, task_id))).rstrip(b"=").decode()


def _read_cursor(cursor: str) -> tuple[int, str]:
    try:
        return _CURSOR.decode(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except ValueError as error:
        raise MalformedRequestError(f"cursor {cursor[:80]!r} is none that a page of ours answered") from error
