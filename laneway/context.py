"""What a handler is given besides its payload."""

from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property

import structlog

from laneway.files import FileStore
from schemas.settings import Settings
from schemas.status import Progress
from schemas.task import Priority


class _Reported:
    """Awaitable and done: ``async`` handlers await ``progress()``, ``def`` handlers just call it."""

    def __await__(self) -> Generator[None, None, None]:
        return
        yield


_REPORTED = _Reported()


@dataclass(kw_only=True, eq=False)
class Context:
    """One attempt, seen from inside its handler."""

    task_id: str
    type: str
    priority: Priority
    attempt: int
    """Number of this run, from 1."""
    max_attempts: int
    generation: int
    labels: dict[str, str]
    deadline: datetime | None
    """When the attempt's time-out strikes."""
    settings: Settings
    files: FileStore
    """Where payloads' files are read and results' files written."""
    shadow: bool = False
    """Whether this run is for comparison alone (``laneway replay run --shadow``): a handler with effects outside leaves
    them out, and returns what it would have returned."""
    report: Callable[[Progress], None] = field(repr=False, default=lambda _: None)
    _cancelled: bool = field(init=False, repr=False, default=False)
    saw_cancellation: bool = field(init=False, repr=False, default=False)
    """Whether the handler has looked since: when it returns then, it has ended for that reason."""

    @cached_property
    def logger(self) -> structlog.typing.FilteringBoundLogger:
        """Writes into the worker's log, each line with the task's id, type and attempt."""
        bound: structlog.typing.FilteringBoundLogger = structlog.get_logger("handler").bind(
            task_id=self.task_id, type=self.type, priority=str(self.priority), attempt=self.attempt
        )
        return bound

    @property
    def idempotency_key(self) -> str:
        """The same for every run of this generation: give it to whatever has the side effect."""
        return f"{self.task_id}.{self.generation}"

    @property
    def cancelled(self) -> bool:
        """Whether the task was cancelled, or its attempt timed out: a long handler looks now and then, and returns.

        A handler that saw it and returns has been cancelled; one that never looked and returns has succeeded.
        """
        self.saw_cancellation = self.saw_cancellation or self._cancelled
        return self._cancelled

    def cancel(self) -> None:
        """Have ``cancelled`` say so; the worker calls it, from any thread."""
        self._cancelled = True

    def progress(self, percent: float, message: str | None = None) -> _Reported:
        """Tell how far the work is; shown in the status.

        Delivery: at most once, and only the newest of several in quick succession. Works from any thread.
        Blocking: never.

        Raises:
            ValueError: ``percent`` is not between 0 and 100.
        """
        if not 0 <= percent <= 100:
            raise ValueError(f"progress: percent is {percent}; want 0 to 100")
        self.report(Progress(percent=percent, message=message))
        return _REPORTED
