"""Workers for ``high`` alone beside workers for the others: each runs what is its, further attempts included."""

from pathlib import Path

from schemas.outcome import Outcome
from schemas.settings import Settings, WorkerSettings
from schemas.status import State
from schemas.task import Priority
from tests.support.fleets import stands_back, worker_processes
from tests.support.waiting import eventually
from tests.support.workers import RunningWorker, outcomes, running_worker, submit

TYPE = "test.flaky"
HELD = "test.ledger"
SLOTS = 2


def ran_on(worker: RunningWorker, ids: list[str], found: dict[str, Outcome]) -> bool:
    """Whether all of these ended well on one worker, the second time that they were run."""
    (process,) = worker_processes(worker)
    names = {(found[task_id].worker or "").rpartition("-")[2] for task_id in ids}
    return names == {str(process)} and {(found[each].state, found[each].attempt) for each in ids} == {
        (State.SUCCEEDED, 2)
    }


async def test_each_runs_its_own(settings: Settings, tmp_path: Path) -> None:
    lone = settings.model_copy(update={"worker": WorkerSettings(concurrency=SLOTS)})
    fails_once = [{"ok_at": 2}] * 10
    with running_worker(lone, tmp_path / "high.log", TYPE, priorities="high") as first:
        await first.ready()
        low = submit(lone, TYPE, fails_once, Priority.LOW)
        high = submit(lone, TYPE, fails_once, Priority.HIGH)
        found = await outcomes(lone, TYPE, len(high))
        assert set(found) == set(high), "a worker ran what is not its own"
        assert ran_on(first, high, found)
        with running_worker(lone, tmp_path / "others.log", TYPE, HELD, priorities="normal,low") as second:
            await second.ready()
            normal = submit(lone, TYPE, fails_once, Priority.NORMAL)
            more = submit(lone, TYPE, fails_once, Priority.HIGH)
            found = await outcomes(lone, TYPE, 40)
            assert ran_on(first, high + more, found)
            assert ran_on(second, low + normal, found)
            assert [stands_back(process) for each in (first, second) for process in worker_processes(each)] == [0, 1]
            # No slot is kept for what never comes.
            ledger, gate = tmp_path / "ledger", tmp_path / "gate"
            submit(lone, HELD, [{"path": str(ledger), "until": str(gate)}] * SLOTS, Priority.LOW)
            await eventually(lambda: ledger.exists() and ledger.read_text().count("start") == SLOTS, within=20)
            gate.touch()
