"""Workers that come and go hand tasks over: what runs goes on where it runs, and starts nowhere else."""

from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pytest

from schemas.settings import Settings
from schemas.status import State
from tests.support.waiting import eventually
from tests.support.workers import RunningWorker, outcomes, running_worker, submit

TYPE = "test.ledger"

pytestmark = pytest.mark.long


async def test_long_tasks_start_once_while_the_group_rebalances(settings: Settings, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    with ExitStack() as stack:
        first = stack.enter_context(running_worker(settings, tmp_path / "first.log", TYPE))
        await first.ready()
        long = submit(settings, TYPE, [{"path": str(ledger), "until": str(tmp_path / "gate")}] * 6)
        await eventually(lambda: _starts(ledger).total() == 6, within=30)
        second = stack.enter_context(running_worker(settings, tmp_path / "second.log", TYPE))
        await second.ready()
        short = submit(settings, TYPE, [{"path": str(ledger), "seconds": 0.05}] * 200)
        await outcomes(settings, TYPE, 200, within=60)
        await eventually(lambda: "runs on another worker" in second.log.read_text(), within=20)
        (tmp_path / "gate").touch()
        found = await outcomes(settings, TYPE, 206, within=60)
        assert second.process.poll() is None
    assert {outcome.state for outcome in found.values()} == {State.SUCCEEDED}
    assert _starts(ledger) == Counter([*long, *short])


async def test_a_rolling_restart_repeats_nothing(settings: Settings, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    with ExitStack() as stack:
        workers: list[RunningWorker] = [
            stack.enter_context(running_worker(settings, tmp_path / f"{number}.log", TYPE)) for number in range(2)
        ]
        for worker in workers:
            await worker.ready()
        ids = submit(settings, TYPE, [{"path": str(ledger), "seconds": 0.1}] * 1_000)
        for number in range(2, 4):
            await eventually(lambda: _starts(ledger).total() > 100, within=30)
            assert workers[number - 2].stop() == 0
            workers.append(stack.enter_context(running_worker(settings, tmp_path / f"{number}.log", TYPE)))
            await workers[-1].ready()
        found = await outcomes(settings, TYPE, 1_000, within=90)
    assert set(found) == set(ids)
    assert _starts(ledger) == Counter(ids)


async def test_tasks_of_a_killed_worker_start_again_elsewhere(settings: Settings, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    with ExitStack() as stack:
        first = stack.enter_context(running_worker(settings, tmp_path / "first.log", TYPE))
        await first.ready()
        ids = submit(settings, TYPE, [{"path": str(ledger), "until": str(tmp_path / "gate")}] * 6)
        await eventually(lambda: _starts(ledger).total() == 6, within=30)
        second = stack.enter_context(running_worker(settings, tmp_path / "second.log", TYPE))
        await second.ready()
        await eventually(lambda: "runs on another worker" in second.log.read_text(), within=20)
        first.kill()
        await eventually(lambda: set(_starts(ledger).values()) == {2}, within=30)
        (tmp_path / "gate").touch()
        found = await outcomes(settings, TYPE, 6, within=60)
    assert set(found) == set(ids)
    assert set(_starts(ledger).values()) == {2}


def _starts(ledger: Path) -> Counter[str]:
    lines = ledger.read_text().splitlines() if ledger.exists() else []
    return Counter(line.split()[1] for line in lines if line.startswith("start"))
