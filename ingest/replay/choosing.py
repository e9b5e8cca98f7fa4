"""Which of the past tasks a selection means. No I/O."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import jmespath
import msgspec
from jmespath.exceptions import JMESPathError

from schemas import headers as names
from schemas.errors import InvalidReplayError
from schemas.headers import header
from schemas.replay import Selection, Source
from schemas.status import ErrorInfo, State, Status
from schemas.task import Task
from schemas.topics import position

_ERROR: Final = msgspec.json.Decoder(ErrorInfo)
_NOT_TRUE: Final[tuple[Any, ...]] = (None, False, "", [], {})


class Past(NamedTuple):
    """A record of the past that is a task."""

    task: Task
    value: bytes
    topic: str
    partition: int
    offset: int
    at: int
    """When it was appended, in milliseconds since the epoch."""
    read_headers: Callable[[], Any]
    """Makes a list of the record's headers, which takes longer than all else that is asked of most records."""

    @property
    def headers(self) -> list[tuple[str, bytes]]:
        """What travels beside it."""
        return self.read_headers() or []

    @property
    def position(self) -> str:
        """As ``topic-partition@offset``."""
        return position(self.topic, self.partition, self.offset)

    @property
    def further_run(self) -> bool:
        """Whether the record is no task's first: it asks for a run that follows another, or for a shadow run."""
        return any(
            (name == names.ATTEMPT and value != b"1") or name in (names.DEFERRALS, names.SHADOW)
            for name, value in self.headers
        )

    @property
    def created_at(self) -> datetime:
        """When the task was accepted."""
        return self.task.created_at or datetime.fromtimestamp(self.at / 1000, UTC)


class Chooser:
    """A selection, ready to be asked.

    Raises:
        InvalidReplayError: its expression is none.
    """

    def __init__(self, select: Selection, source: Source) -> None:
        self._dead = source is Source.DEAD_LETTERS
        self._types = None if select.types is None else frozenset(select.types)
        self._states = None if select.states is None else frozenset(select.states)
        self._labels = select.labels
        self._since, self._until = select.since, select.until
        self._key = select.key
        self._ids = None if select.ids is None else frozenset(select.ids)
        self._priorities = None if select.priorities is None else frozenset(select.priorities)
        self._error = None if select.error is None else select.error.casefold()
        self._where = None if select.where is None else _compiled(select.where)

    def wants(self, past: Past) -> bool:
        """Whether the record alone speaks for it."""
        task = past.task
        if self._types is not None and task.type not in self._types:
            return False
        if self._priorities is not None and task.priority not in self._priorities:
            return False
        if self._ids is not None and task.id not in self._ids:
            return False
        if self._key is not None and task.partition_key != self._key:
            return False
        if self._labels is not None and any(task.labels.get(name) != value for name, value in self._labels.items()):
            return False
        if self._since is None and self._until is None:
            return True
        at = set_aside_at(past.headers) if self._dead else None
        at = past.created_at if at is None else at
        return (self._since is None or at >= self._since) and (self._until is None or at < self._until)

    def wants_end(self, past: Past, state: State, status: Status | None) -> bool:
        """Whether how the task ended speaks for it."""
        if self._states is not None and state not in self._states:
            return False
        if self._error is None:
            return True
        error = error_of(past, status, dead=self._dead)
        return error is not None and (
            error.type.casefold() == self._error or self._error in f"{error.type}: {error.message}".casefold()
        )

    def wants_payload(self, payload: Any) -> bool:
        """Whether the expression is true of a payload.

        Raises:
            JMESPathError: it cannot be applied to it.
        """
        if self._where is None:
            return True
        found = self._where.search(payload)
        return not any(found is each or (found == each and type(found) is type(each)) for each in _NOT_TRUE)

    @property
    def looks_into_payloads(self) -> bool:
        """Whether there is an expression."""
        return self._where is not None


def error_of(past: Past, status: Status | None, *, dead: bool) -> ErrorInfo | None:
    """The error that a task ended with: as its dead letter tells it, else its status."""
    said = header(past.headers, names.DLQ_ERROR) if dead else None
    if said is not None:
        try:
            return _ERROR.decode(said)
        except msgspec.DecodeError:
            return None
    return status.error if status is not None else None


def set_aside_at(headers: Iterable[tuple[str, bytes | str | None]]) -> datetime | None:
    """When a dead letter was set aside."""
    said = header(headers, names.DLQ_AT)
    try:
        return None if said is None else datetime.fromisoformat(said.decode())
    except ValueError:
        return None


def _compiled(expression: str) -> Any:
    try:
        return jmespath.compile(expression)
    except JMESPathError as error:
        said = " ".join(str(error).split())
        raise InvalidReplayError(f"select.where: no JMESPath expression: {said}") from error
    except RecursionError as error:
        raise InvalidReplayError("select.where: nested too deeply") from error
