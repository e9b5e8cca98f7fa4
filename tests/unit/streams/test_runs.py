"""A slot is given to what may start; between that and the handler's call the world can change."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from laneway.registry import Registry
from schemas.settings import Settings
from schemas.task import Lane, Priority
from streams.runs import Runs
from streams.scheduler import Room
from tests.support import works

LANE = Lane("email", Priority.LOW)


class Executor:
    """Takes attempts, and calls no handler."""

    def __init__(self) -> None:
        self.taken: list[Any] = []

    def room(self, _: object) -> Room:
        return Room.ANY

    def start(self, attempt: Any) -> None:
        self.taken.append(attempt)


@pytest.mark.parametrize(
    ("fenced", "lease", "may"),
    [
        pytest.param(False, True, True, id="ours"),
        pytest.param(False, False, False, id="nobody knows"),
        pytest.param(True, True, False, id="given up, and taken back"),
    ],
)
async def test_a_handler_is_called_only_as_long_as_the_task_is_ours(
    fenced: bool, lease: bool, may: bool, tmp_path: Path
) -> None:
    held = [True]
    nothing = SimpleNamespace(suspect=lambda *_: None, begin=lambda _: 1, started=lambda _: None)
    registry = Registry()
    registry.task("email")(lambda payload: payload)
    runs = Runs(
        Settings(data_dir=tmp_path),
        registry,
        cast("Any", nothing),
        cast("Any", nothing),
        lambda _: held[0],
        cast("Any", nothing),
    )
    runs.executors, runs.room = cast("Any", executor := Executor()), lambda _: None
    one = works.work(LANE)
    one.task_type = cast("Any", SimpleNamespace(timeout=None, retry=one.task_type.retry))
    runs.add(one)
    runs.fill("email")
    (attempt,) = executor.taken
    assert attempt.may_begin()
    one.fenced, held[0] = fenced, lease
    assert attempt.may_begin() is may
