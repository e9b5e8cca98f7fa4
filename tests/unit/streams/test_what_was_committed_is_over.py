"""Records before the place at which the group goes on start nothing, however they came, and take no commit back."""

import asyncio
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


class Runs:
    """Notes what is due."""

    def __init__(self) -> None:
        self.due: list[int] = []

    def add(self, work: Any) -> None:
        self.due.append(work.source.record.offset)

    def discard(self, *_: object) -> None: ...
    def fill(self, *_: object) -> None: ...
    def set_share(self, *_: object) -> None: ...
    def full(self, *_: object) -> bool:
        return False


class Outcomes:
    def knows(self, _: object) -> bool:
        return False

    def went_on(self, _: object) -> None: ...

    def commit_metadata(self, _: object) -> str:
        return ""


def records(first: int, last: int) -> list[Any]:
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


async def test_they_do(tmp_path: Path) -> None:
    runs, nothing = Runs(), SimpleNamespace(stop=lambda _: False)
    dispatcher = Dispatcher(
        Settings(data_dir=tmp_path),
        cast("Any", {"email": cast("TaskType", SimpleNamespace(key_rate=None))}),
        cast("Any", Outcomes()),
        cast("Any", runs),
        cast("Any", nothing),
        Cancellations(lambda *_: None),
        cast("Any", nothing),
        lambda _: True,
        "w",
    )
    dispatcher.assigned(LANE, {0})
    await dispatcher.admit(LANE, records(146, 150))
    (partition,) = dispatcher.unopened()
    partition.start = 167
    dispatcher.open_partition(partition)
    assert dispatcher.committable(LANE) == {}
    await dispatcher.admit(LANE, records(151, 168))
    await asyncio.sleep(0)
    assert runs.due == [167, 168]
    assert dispatcher.committable(LANE) == {0: (167, "")}
