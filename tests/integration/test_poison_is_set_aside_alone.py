"""A task that crashes its worker is a dead letter after three crashes; its neighbours finish, no attempt spent."""

from pathlib import Path

import msgspec
import pytest

from schemas.headers import DLQ_ERROR, DLQ_REASON, header
from schemas.settings import Settings
from schemas.status import State
from schemas.topics import Topics
from tests.support.fleets import lines_of
from tests.support.kafka import read_all
from tests.support.workers import outcomes, running_worker, submit

NEIGHBOURS = 8


@pytest.mark.long
@pytest.mark.timeout(150)
@pytest.mark.parametrize(("do", "deaths", "how"), [("abort", 1, "SIGABRT"), ("kill", 2, "SIGKILL")])
async def test_only_the_guilty_one(settings: Settings, tmp_path: Path, do: str, deaths: int, how: str) -> None:
    ledger = tmp_path / "ledger"
    innocent = {"path": str(ledger), "seconds": 2.0, "do": "nothing"}
    guilty = {"path": str(ledger), "seconds": 1.0, "do": do}
    with running_worker(settings, tmp_path / "worker.log", "test.poison") as worker:
        await worker.ready()
        ids = submit(settings, "test.poison", [innocent] * NEIGHBOURS)
        (poison,) = submit(settings, "test.poison", [guilty])
        found = await outcomes(settings, "test.poison", NEIGHBOURS + 1, within=120)
        log = lines_of(worker.log)
        assert worker.stop() == 0
    assert {found[task_id].state for task_id in ids} == {State.SUCCEEDED}
    assert {found[task_id].attempt for task_id in ids} == {1}
    assert found[poison].state is State.DEAD_LETTERED
    assert found[poison].attempt == 1
    (letter,) = read_all(settings.bootstrap_servers, Topics(settings.kafka.topic_prefix).dead_letters("test.poison"))
    assert header(letter.headers, DLQ_REASON) == b"poison"
    error = msgspec.json.decode(header(letter.headers, DLQ_ERROR) or b"")
    assert error["type"] == "PoisonError"
    assert how in error["message"]
    assert "3 processes crashed" in error["message"]
    # It began three times, and every one of them was a crash; the worker died only while it was not known whose doing.
    assert ledger.read_text().count(f"start {poison}") == 3
    assert sum("worker died" in line for line in log) == deaths


@pytest.mark.long
@pytest.mark.timeout(240)
@pytest.mark.parametrize(("do", "deaths"), [("exit", 1), ("memory", 0)])
async def test_a_thousand_good_ones_beside_it(settings: Settings, tmp_path: Path, do: str, deaths: int) -> None:
    ledger = tmp_path / "ledger"
    good = {"path": str(ledger), "seconds": 0.01, "do": "nothing"}
    with running_worker(settings, tmp_path / "worker.log", "test.poison", address_space=6 << 30) as worker:
        await worker.ready()
        ids = submit(settings, "test.poison", [good] * 500)
        (bad,) = submit(settings, "test.poison", [{**good, "do": do}])
        ids += submit(settings, "test.poison", [good] * 500)
        found = await outcomes(settings, "test.poison", 1001, within=200)
        log = lines_of(worker.log)
    assert {found[task_id].state for task_id in ids} == {State.SUCCEEDED}
    assert {found[task_id].attempt for task_id in ids} == {1}
    assert (found[bad].state, found[bad].attempt) == (State.DEAD_LETTERED, 1)
    assert [error.type for error in (found[bad].error,) if error] == ["PoisonError"]
    # Once in company, twice alone.
    assert ledger.read_text().count(f"start {bad}") == 3
    assert sum("worker died" in line for line in log) == deaths
