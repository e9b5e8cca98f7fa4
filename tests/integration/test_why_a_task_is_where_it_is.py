"""``why`` tells, of tasks on a real broker, what each waits for, who runs it and how it ended."""

from datetime import timedelta
from pathlib import Path

import pytest

from laneway import AsyncClient
from schemas.errors import TaskNotFoundError
from schemas.explanation import Explanation, Reason
from schemas.settings import Settings
from schemas.status import State
from tests.support.api import running_api
from tests.support.controlled import MODULE, TYPES
from tests.support.waiting import eventually
from tests.support.workers import running_worker

pytestmark = pytest.mark.timeout(200)
BUDGET = 5


@pytest.fixture
def settings(settings: Settings) -> Settings:
    worker = settings.worker.model_copy(update={"dead_letter_budget": BUDGET})
    return settings.model_copy(update={"worker": worker})


async def test_every_reason(settings: Settings, tmp_path: Path) -> None:
    payload = {"path": str(tmp_path / "ledger")}
    with running_api(settings, tmp_path / "api.log", *TYPES, module=MODULE) as api:
        await api.ready()
        async with AsyncClient(api.address) as client:

            async def reasons(task_id: str) -> dict[Reason, Explanation]:
                return {each.reason: each for each in (await client.why(task_id)).reasons}

            with pytest.raises(TaskNotFoundError):
                await client.why("no-such-task")
            alone = await client.submit("ctl.async", payload)
            assert list(await reasons(alone.id)) == [Reason.NO_WORKER, Reason.WAITING]
            with running_worker(settings, tmp_path / "worker.log", "ctl.async", "ctl.failing", module=MODULE) as worker:
                await worker.ready()
                await client.wait(alone.id, timedelta(seconds=20))
                assert (await reasons(alone.id))[Reason.ENDED].attempt == 1

                later = await client.submit("ctl.async", payload, delay=timedelta(hours=1))
                due_in = (await reasons(later.id))[Reason.SCHEDULED].due_in
                assert due_in is not None
                assert 3000 < due_in <= 3600

                runs = await client.submit("ctl.async", {**payload, "do": "wait"})

                async def state_of(task_id: str, wanted: State) -> bool:
                    return (await client.get(task_id)).state is wanted

                await eventually(lambda: state_of(runs.id, State.RUNNING), within=20, what="a run")
                running = (await reasons(runs.id))[Reason.RUNNING]
                assert running.worker
                assert running.since

                holds = await client.submit("ctl.async", {**payload, "do": "wait"}, ordering_key="turn")
                await eventually(lambda: state_of(holds.id, State.RUNNING), within=20, what="a run of the key")
                kept = await client.submit("ctl.async", payload, ordering_key="turn")
                has_turn = (await reasons(kept.id))[Reason.ORDERING_KEY]
                assert (has_turn.task, has_turn.state, has_turn.worker is None) == (holds.id, State.RUNNING, False)
                await client.submit("ctl.async", payload, ordering_key="another")

                fails = await client.submit("ctl.async", {**payload, "do": "fail"})
                await eventually(lambda: state_of(fails.id, State.RETRYING), within=20, what="a failed run")
                retrying = (await reasons(fails.id))[Reason.RETRYING]
                assert retrying.error is not None
                assert retrying.error.message == "as asked"

                await client.pause("ctl.async", "low", reason="the other side is down")
                # The hold reaches the worker a moment later: what it takes till then keeps the turn of the key.
                low = {**payload, "do": "wait"}
                held = [await client.submit("ctl.async", low, priority="low", ordering_key="k") for _ in range(5)]
                found = await reasons(held[-1].id)
                assert list(found) == [Reason.LANE_PAUSED, Reason.ORDERING_KEY, Reason.WAITING]
                assert found[Reason.LANE_PAUSED].said == "the other side is down"
                before = found[Reason.ORDERING_KEY]
                assert before.task in {each.id for each in held[:-1]}
                # Those before it in its partition; one that was taken in the same millisecond is not counted.
                assert found[Reason.WAITING].ahead in range(3, 6)

                for _ in range(BUDGET + 1):
                    await client.submit("ctl.failing", {})

                async def poured() -> bool:
                    return any(each.paused and each.type == "ctl.failing" for each in await client.lanes())

                await eventually(poured, within=30, what="a lane that met its budget")
                stopped = await client.submit("ctl.failing", {})
                assert next(iter(await reasons(stopped.id))) is Reason.DEAD_LETTER_BUDGET
