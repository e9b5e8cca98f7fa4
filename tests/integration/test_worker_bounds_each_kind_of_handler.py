"""A time-out ends an attempt on the loop, in a thread and in a process; a crash of the process is told."""

from pathlib import Path
from typing import Final

import pytest

from schemas.outcome import Outcome
from schemas.settings import Settings
from schemas.status import State
from tests.support.workers import outcomes, running_worker, submit

pytestmark = pytest.mark.timeout(200)

CASES: Final = [
    ("test.bounded", {}, "TaskTimeoutError"),
    ("test.thread", {}, "TaskTimeoutError"),
    ("test.process", {"do": "sleep"}, "TaskTimeoutError"),
    ("test.process", {"do": "exit"}, "HandlerProcessError"),
]


async def test_each_attempt_ends(settings: Settings, tmp_path: Path) -> None:
    types = sorted({type_name for type_name, _, _ in CASES})
    with running_worker(settings, tmp_path / "worker.log", *types) as worker:
        await worker.ready()
        expected = {
            submit(settings, type_name, [payload], timeout=0.5)[0]: error for type_name, payload, error in CASES
        }
        found: dict[str, Outcome] = {}
        for type_name in types:
            asked = sum(1 for name, _, _ in CASES if name == type_name)
            found |= await outcomes(settings, type_name, asked)
    assert {outcome.state for outcome in found.values()} == {State.DEAD_LETTERED}
    assert {task_id: outcome.error.type for task_id, outcome in found.items() if outcome.error} == expected


async def test_a_process_stuck_in_c_code_dies_soon_after_its_time_out(settings: Settings, tmp_path: Path) -> None:
    with running_worker(settings, tmp_path / "worker.log", "test.process") as worker:
        await worker.ready()
        submit(settings, "test.process", [{"do": "nothing"}])  # starts the process, which has to import first
        await outcomes(settings, "test.process", 1)
        (stuck,) = submit(settings, "test.process", [{"do": "stuck"}], timeout=1.0)
        outcome = (await outcomes(settings, "test.process", 2))[stuck]
    assert outcome.error is not None
    assert outcome.error.type == "TaskTimeoutError"
    assert outcome.started_at is not None
    ran = (outcome.finished_at - outcome.started_at).total_seconds()
    assert 1.0 <= ran < 2.0, f"ended {ran:.2f} s after its start, with a time-out of 1 s"
