"""A time-out ends an attempt on the loop, in a thread and in a process; a crash of the process is told."""

from pathlib import Path

import pytest

from schemas.settings import Settings
from schemas.status import State
from tests.support.workers import outcomes, running_worker, submit


@pytest.mark.parametrize(
    ("type_name", "payload", "error"),
    [
        ("test.bounded", {}, "TaskTimeoutError"),
        ("test.thread", {}, "TaskTimeoutError"),
        ("test.process", {"do": "sleep"}, "TaskTimeoutError"),
        ("test.process", {"do": "exit"}, "HandlerProcessError"),
    ],
)
async def test_the_attempt_ends(
    type_name: str, payload: dict[str, str], error: str, settings: Settings, tmp_path: Path
) -> None:
    with running_worker(settings, tmp_path / "worker.log", type_name) as worker:
        await worker.ready()
        (task_id,) = submit(settings, type_name, [payload], timeout=0.5)
        outcome = (await outcomes(settings, type_name, 1))[task_id]
    assert outcome.state is State.DEAD_LETTERED
    assert outcome.error is not None
    assert outcome.error.type == error
