"""What a handler is given besides its payload."""

import threading
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from datetime import datetime

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
    logger: structlog.typing.FilteringBoundLogger
    report: Callable[[Progress], None] = field(repr=False, default=lambda _: None)
    cancelling: threading.Event = field(repr=False, default_factory=threading.Event)

    @property
    def idempotency_key(self) -> str:
        """The same for every run of this generation: give it to whatever has the side effect."""
        return f"{self.task_id}.{self.generation}"

    @property
    def cancelled(self) -> bool:
        """Whether the task was cancelled, or its attempt timed out: a long handler looks now and then, and returns."""
        return self.cancelling.is_set()

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
