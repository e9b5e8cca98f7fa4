"""Every scenario of what a task may rely on holds in the test kit, which takes no real time for it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from laneway import Context
from laneway.testing import Crash, Sandbox
from tests.support.semantics import handlers
from tests.support.semantics.scenarios import SCENARIOS, SLOTS, Scenario
from tests.support.semantics.systems import InSandbox, System


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> Iterator[System]:
    def crash(ctx: Context) -> None:
        raise Crash("SIGABRT")

    with Sandbox(concurrency=SLOTS, seed=1) as lane:
        monkeypatch.setattr(handlers, "crash", crash)
        monkeypatch.setattr(handlers, "crash_once_told", lambda ctx, _: lane.crash(ctx.task_id, "after_result"))
        yield InSandbox(lane)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_it_holds(scenario: Scenario, system: System, tmp_path: Path) -> None:
    scenario(system, tmp_path / "notes")
