"""A status view without a broker."""

from collections.abc import Collection
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from ingest.view.listing import Listing, Page, read_page
from ingest.view.schema import connect
from ingest.view.store import StatusRecord, ViewStore
from schemas.codec import decode, encode
from schemas.status import State, Status
from schemas.task import Priority

NOW = datetime.now(UTC).replace(microsecond=0)


def status(task_id: str = "a", state: State = State.QUEUED, **changes: object) -> Status:
    """A status of a task that was accepted now."""
    fields: dict[str, object] = {
        "id": task_id,
        "type": "t",
        "priority": Priority.NORMAL,
        "state": state,
        "max_attempts": 3,
        "created_at": NOW,
        "updated_at": NOW,
    }
    return Status(**{**fields, **changes})  # type: ignore[arg-type]


class View:
    """The one writer of a file, and questions to it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "status.db"
        self.store = ViewStore(self.path, "cluster/topic", 1)
        self._next = 0

    def apply(self, *statuses: Status | bytes, first: Collection[str] = (), killed: bool = False) -> None:
        """Apply in one transaction; bytes are the key of a tombstone.

        Args:
            statuses: what is applied.
            first: tasks whose records are applied before the others, in a transaction without positions.
            killed: whether the writer was killed after that one, so that all of them come again.
        """
        records = [
            StatusRecord(0, place, each, None)
            if isinstance(each, bytes)
            else StatusRecord(0, place, each.id.encode(), encode(each))
            for place, each in enumerate(statuses, self._next)
        ]
        self._next += len(records)
        ahead = [record for record in records if record.key is not None and record.key.decode() in first]
        if ahead:
            self.store.apply("status", ahead, {})
        left = records if killed else [record for record in records if record not in ahead]
        self.store.apply("status", left, {0: self._next})

    def ask(self, question: str, *values: object) -> list[tuple[object, ...]]:
        """What a reader of its own is answered."""
        with closing(connect(self.path, read_only=True)) as connection:
            return connection.execute(question, values).fetchall()

    def page(self, listing: Listing, *clock: float) -> Page:
        """A page; ``clock`` is what time it is, look by look, and the last one stays."""
        times = list(clock) or [0.0]
        with closing(connect(self.path, read_only=True)) as connection:
            return read_page(connection, listing, clock=lambda: times.pop(0) if len(times) > 1 else times[0])

    def find(self, task_id: str = "a") -> Status | None:
        """What the view has of a task."""
        found = self.ask("SELECT document FROM tasks WHERE id = ?", task_id)
        return decode(found[0][0], Status) if found else None  # type: ignore[arg-type]

    def all(self) -> dict[str, Status]:
        """Every task."""
        return {str(key): decode(found, Status) for key, found in self.ask("SELECT id, document FROM tasks")}  # type: ignore[arg-type]
