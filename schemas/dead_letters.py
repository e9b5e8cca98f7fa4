"""Dead letters as the API tells them."""

from typing import Any

from msgspec import Struct

from schemas.status import ErrorInfo
from schemas.task import AwareDatetime


class DeadLetter(Struct, frozen=True, kw_only=True):
    """A record that will not be tried again by itself."""

    position: str
    """Where it lies, as `topic-partition@offset`."""
    id: str | None
    """Of the task; `None` where it is none: it can be looked at, and not redriven."""
    type: str
    """Of its dead letters; a task's own, where it is one."""
    reason: str | None
    """In a word: `rejected`, `exhausted`, `undecodable`, …"""
    error: ErrorInfo | None
    errors: list[ErrorInfo] = []
    """Every failure, oldest first."""
    at: AwareDatetime
    """When it was set aside."""
    source: str | None
    """Where the record lay, as `topic-partition@offset`."""
    worker: str | None
    generation: int | None = None
    redriven: bool = False
    """Whether its task has gone on since: redriving it does nothing."""
    headers: dict[str, str] = {}
    payload: Any = None
    """Of the task; absent in listings."""
    value: str | None = None
    """What is no task, as text; absent in listings."""


class DeadLetterGroup(Struct, frozen=True, kw_only=True):
    """Dead letters of one type that have one error in common."""

    type: str
    error: str | None
    """Class of the error."""
    reason: str | None
    count: int
    open: int
    """Those that can be redriven."""
    oldest: AwareDatetime
    newest: AwareDatetime
    message: str | None
    """Of the newest."""


class DeadLetterPage(Struct, frozen=True, kw_only=True):
    """Dead letters, the newest first, and how many there are of each error."""

    groups: list[DeadLetterGroup]
    letters: list[DeadLetter]
    complete: bool
    """Whether all were counted; of very many, only the newest are."""
