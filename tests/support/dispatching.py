"""A dispatcher whose slots and outcomes only note what they are given."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec

from laneway.registry import TaskType
from schemas import codec
from schemas.settings import Settings
from schemas.task import Lane, Priority, Task
from streams.cancelling import Cancellations
from streams.dispatcher import Dispatcher

LANE = Lane("email", Priority.LOW)
WORKER = "w"


class Runs:
    """Notes what is due."""

    def __init__(self) -> None:
        self.due: list[int] = []
        """Offsets of the records that wait for a slot."""

    def add(self, work: Any) -> None:
        self.due.append(work.source.record.offset)

    def discard(self, *_: object) -> None: ...
    def fill(self, *_: object) -> None: ...
    def set_share(self, *_: object) -> None: ...
    def full(self, *_: object) -> bool:
        return False


class Outcomes:
    """Of a worker that has run nothing yet."""

    def knows(self, _: object) -> bool:
        return False

    def went_on(self, _: object) -> None: ...

    def commit_metadata(self, _: object) -> str:
        return ""


def records(first: int, last: int) -> list[Any]:
    """Records of ``LANE``; each task has its record's offset as its id."""
    return [
        SimpleNamespace(
            topic="t",
            partition=0,
            offset=offset,
            timestamp=0,
            key=b"",
            headers=(),
            value=codec.encode(Task(id=f"{offset}", type="email", payload=msgspec.Raw(b"{}"), priority=LANE.priority)),
        )
        for offset in range(first, last + 1)
    ]


def dispatcher(folder: Path, runs: Runs) -> Dispatcher:
    """One of ``WORKER``, which takes its lease to hold."""
    nothing = SimpleNamespace(stop=lambda _: False)
    return Dispatcher(
        Settings(data_dir=folder),
        cast("Any", {"email": cast("TaskType", SimpleNamespace(key_rate=None))}),
        cast("Any", Outcomes()),
        cast("Any", runs),
        cast("Any", nothing),
        Cancellations(lambda *_: None),
        cast("Any", nothing),
        lambda _: True,
        WORKER,
    )
