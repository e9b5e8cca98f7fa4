"""A cancellation is answered with the truth, and no handler of a task starts after it, wherever the task was."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from laneway import AsyncClient
from laneway.ids import new_id
from schemas.errors import TaskNotFoundError
from schemas.settings import Settings
from schemas.status import State
from tests.support.api import running_api
from tests.support.controlled import MODULE, TYPES
from tests.support.waiting import eventually
from tests.support.workers import outcomes, running_worker

pytestmark = pytest.mark.timeout(200)
GRACE = 1.0


@pytest.fixture
def settings(settings: Settings) -> Settings:
    worker = settings.worker.model_copy(update={"concurrency": 4, "cancel_grace": GRACE})
    return settings.model_copy(update={"worker": worker})


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    path = tmp_path / "ledger"
    path.touch()
    return path


def starts(ledger: Path, task_id: str) -> int:
    """How often its handler was called."""
    return sum(line.split()[:2] == ["start", task_id] for line in ledger.read_text().splitlines())


@asynccontextmanager
async def system(settings: Settings, tmp_path: Path, *types: str) -> AsyncIterator[AsyncClient]:
    """An API, a worker and a client."""
    with (
        running_api(settings, tmp_path / "api.log", *TYPES, module=MODULE) as api,
        running_worker(settings, tmp_path / "worker.log", *types, module=MODULE) as worker,
    ):
        await api.ready()
        await worker.ready()
        async with AsyncClient(api.address) as client:
            yield client


async def submit(client: AsyncClient, ledger: Path, type_name: str, do: str | None = None, **options: Any) -> str:
    return (await client.submit(type_name, {"path": str(ledger), "do": do}, **options)).id


async def running(client: AsyncClient, task_id: str) -> None:
    """Wait until it runs."""

    async def runs() -> bool:
        return (await client.get(task_id)).state is State.RUNNING

    await eventually(runs, within=20, what="a running task")


async def test_what_waits_never_starts(settings: Settings, ledger: Path, tmp_path: Path) -> None:
    async with system(settings, tmp_path, "ctl.async") as client:
        retrying = await submit(client, ledger, "ctl.async", "fail")
        blockers = [await submit(client, ledger, "ctl.async", "look") for _ in range(3)]
        for blocker in blockers:
            await running(client, blocker)
        head = await submit(client, ledger, "ctl.async", "look", ordering_key="one", priority="high")
        await running(client, head)
        waiting = {
            "for a slot": await submit(client, ledger, "ctl.async"),
            "a long time": await submit(client, ledger, "ctl.async", delay=timedelta(hours=1)),
            "in memory": await submit(client, ledger, "ctl.async", delay=timedelta(seconds=0.9)),
            "for its key": await submit(client, ledger, "ctl.async", ordering_key="one", priority="high"),
            "for its retry": retrying,
        }
        answers = {name: await client.cancel(task_id) for name, task_id in waiting.items()}
        assert {name: str(answer.cancellation) for name, answer in answers.items()} == dict.fromkeys(
            waiting, "before_start"
        )
        again = {name: await client.cancel(task_id) for name, task_id in waiting.items()}
        assert again == answers
        for task_id in waiting.values():
            status = await client.get(task_id)
            assert (status.state, status.not_before) == (State.CANCELLED, None)
        for each in (*blockers, head):
            assert str((await client.cancel(each)).cancellation) == "while_running"
        for each in (*blockers, head):
            assert (await client.wait(each, timedelta(seconds=20))).state is State.CANCELLED
        await asyncio.sleep(1.5)
        assert {name: starts(ledger, task_id) for name, task_id in waiting.items()} == {
            **dict.fromkeys(waiting, 0),
            "for its retry": 1,
        }
        found = await outcomes(settings, "ctl.async", len(waiting) + len(blockers) + 1)
        assert {outcome.state for outcome in found.values()} == {State.CANCELLED}


async def test_what_runs_is_told_and_then_stopped(settings: Settings, ledger: Path, tmp_path: Path) -> None:
    cases = {
        ("ctl.async", "look"): State.CANCELLED,
        ("ctl.async", "wait"): State.CANCELLED,
        ("ctl.async", "finish"): State.SUCCEEDED,  # it never looked, and was done within the grace
        ("ctl.thread", "look"): State.CANCELLED,
        ("ctl.thread", "deaf"): State.CANCELLED,
        ("ctl.process", "look"): State.CANCELLED,
        ("ctl.process", "deaf"): State.CANCELLED,
    }
    async with system(settings, tmp_path, "ctl.async", "ctl.thread", "ctl.process") as client:
        for (type_name, do), expected in cases.items():
            task_id = await submit(client, ledger, type_name, do)
            await eventually(lambda: starts(ledger, task_id) == 1, within=20)  # noqa: B023
            answer = await client.cancel(task_id)
            assert str(answer.cancellation) == "while_running", (type_name, do)
            final = await client.wait(task_id, timedelta(seconds=GRACE + 15))
            assert final.state is expected, (type_name, do, final)
            assert starts(ledger, task_id) == 1


async def test_what_is_over_is_over_and_what_never_was_is_not_found(
    settings: Settings, ledger: Path, tmp_path: Path
) -> None:
    async with system(settings, tmp_path, "ctl.async") as client:
        task_id = await submit(client, ledger, "ctl.async")
        await client.wait(task_id, timedelta(seconds=20))
        answer = await client.cancel(task_id)
        assert (str(answer.cancellation), answer.state) == ("too_late", State.SUCCEEDED)
        with pytest.raises(TaskNotFoundError):
            await client.cancel(new_id())


async def test_without_a_worker_it_is_taken_down_for_the_next_one(
    settings: Settings, ledger: Path, tmp_path: Path
) -> None:
    with running_api(settings, tmp_path / "api.log", *TYPES, module=MODULE) as api:
        await api.ready()
        async with AsyncClient(api.address) as client:
            cancelled = await submit(client, ledger, "ctl.async")
            other = await submit(client, ledger, "ctl.async")
            async with httpx.AsyncClient(base_url=api.address, timeout=20) as http:
                answer = await http.delete(f"/api/tasks/{cancelled}")
            assert (answer.status_code, answer.json()["cancellation"]) == (httpx.codes.ACCEPTED, "requested")
            with running_worker(settings, tmp_path / "worker.log", "ctl.async", module=MODULE):
                final = await client.wait(cancelled, timedelta(seconds=30))
                assert (await client.wait(other, timedelta(seconds=30))).state is State.SUCCEEDED
            assert (final.state, starts(ledger, cancelled)) == (State.CANCELLED, 0)


@pytest.mark.parametrize("count", [200, pytest.param(1000, marks=pytest.mark.long)])
async def test_many_in_every_state(settings: Settings, ledger: Path, tmp_path: Path, count: int) -> None:
    rng = random.Random(7)
    kinds: list[tuple[str, str | None, dict[str, Any]]] = [
        ("ctl.async", None, {}),
        ("ctl.async", "finish", {"priority": "low"}),
        ("ctl.async", None, {"delay": timedelta(seconds=0.5)}),
        ("ctl.async", None, {"delay": timedelta(seconds=5)}),
        ("ctl.async", None, {"ordering_key": "one"}),
        ("ctl.async", "fail", {"priority": "high"}),
        ("ctl.thread", None, {}),
        ("ctl.async", "look", {"priority": "high"}),
    ]
    answered: dict[str, tuple[str, int]] = {}
    async with system(settings, tmp_path, "ctl.async", "ctl.thread") as client:

        async def one() -> None:
            type_name, do, options = rng.choice(kinds)
            task_id = await submit(client, ledger, type_name, do, **options)
            await asyncio.sleep(rng.choice([0, 0, 0.01, 0.05, 0.5, 2]))
            answer = str((await client.cancel(task_id)).cancellation)
            answered[task_id] = answer, starts(ledger, task_id)

        gate = asyncio.Semaphore(40)

        async def gated() -> None:
            async with gate:
                await one()

        await asyncio.gather(*(gated() for _ in range(count)))
        finals = {task_id: await client.wait(task_id, timedelta(seconds=60)) for task_id in answered}
    assert Counter(answer for answer, _ in answered.values()).keys() <= {"before_start", "while_running", "too_late"}
    for task_id, (answer, begun) in answered.items():
        state = finals[task_id].state
        if answer == "before_start":
            assert state is State.CANCELLED
        elif answer == "while_running":
            assert begun
        else:
            assert state is not State.CANCELLED
        assert starts(ledger, task_id) == begun, (answer, state)  # nothing started after the answer
