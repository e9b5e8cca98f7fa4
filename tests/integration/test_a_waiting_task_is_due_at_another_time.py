"""A waiting task is due when it was changed to be, starts once, and a change that comes too late changes nothing."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from laneway import AsyncClient
from laneway.ids import new_id
from schemas.errors import InvalidTaskError, NotWaitingError, TaskNotFoundError
from schemas.settings import Settings
from schemas.status import State
from tests.support.api import running_api
from tests.support.controlled import MODULE, TYPES
from tests.support.waiting import eventually
from tests.support.workers import running_worker

pytestmark = pytest.mark.timeout(200)
HOUR = timedelta(hours=1)


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    path = tmp_path / "ledger"
    path.touch()
    return path


def starts(ledger: Path, task_id: str) -> list[float]:
    """When its handler was called."""
    lines = [line.split() for line in ledger.read_text().splitlines()]
    return [float(at) for what, who, at in lines if (what, who) == ("start", task_id)]


async def submit(client: AsyncClient, ledger: Path, do: str | None = None, **options: object) -> str:
    return (await client.submit("ctl.async", {"path": str(ledger), "do": do}, **options)).id  # type: ignore[arg-type]


async def test_it_starts_at_the_time_that_was_said_last_and_once(
    settings: Settings, ledger: Path, tmp_path: Path
) -> None:
    with (
        running_api(settings, tmp_path / "api.log", *TYPES, module=MODULE) as api,
        running_worker(settings, tmp_path / "worker.log", "ctl.async", module=MODULE) as worker,
    ):
        await api.ready()
        await worker.ready()
        async with AsyncClient(api.address) as client:
            sooner = await submit(client, ledger, delay=timedelta(seconds=9))
            later = await submit(client, ledger, delay=timedelta(seconds=5))
            at_once = await submit(client, ledger, delay=HOUR, ordering_key="k", labels={"a": "b"})
            to_and_fro = await submit(client, ledger, delay=timedelta(seconds=6))
            retrying = await submit(client, ledger, "fail")
            said = {
                sooner: await client.reschedule(sooner, delay=timedelta(seconds=3)),
                later: await client.reschedule(later, run_at=datetime.now(UTC) + timedelta(seconds=8)),
                at_once: await client.reschedule(at_once, delay=timedelta(0)),
            }
            await client.reschedule(to_and_fro, delay=HOUR)
            await client.reschedule(to_and_fro, delay=timedelta(days=20))
            said[to_and_fro] = await client.reschedule(to_and_fro, delay=timedelta(seconds=4))
            for status in said.values():
                assert (status.state, status.attempt) == (State.SCHEDULED, 0)
            assert [said[each].deferrals for each in (sooner, to_and_fro)] == [1, 3]
            await eventually(lambda: len(starts(ledger, retrying)) == 1, within=20)

            async def waits_for_its_retry() -> bool:
                return (await client.get(retrying)).state is State.RETRYING

            await eventually(waits_for_its_retry, within=20)
            again = await client.reschedule(retrying, delay=timedelta(0))
            assert (again.state, again.attempt, len(again.errors)) == (State.RETRYING, 1, 1)
            await eventually(lambda: len(starts(ledger, retrying)) == 2, within=20)
            for each, status in said.items():
                final = await client.wait(each, timedelta(seconds=30))
                assert final.state is State.SUCCEEDED
                assert status.not_before is not None
                assert starts(ledger, each)[0] >= status.not_before.timestamp()
            assert (await client.get(at_once)).labels == {"a": "b"}
            # When their former records come up, at 5, 6 and 9 seconds, nothing starts.
            passed_over = worker_log(tmp_path / "worker.log", "passed over")
            await eventually(lambda: passed_over() >= 3, within=30)
            assert {each: len(starts(ledger, each)) for each in said} == dict.fromkeys(said, 1)


async def test_one_that_does_not_wait_is_refused_and_told_why(settings: Settings, ledger: Path, tmp_path: Path) -> None:
    with (
        running_api(settings, tmp_path / "api.log", *TYPES, module=MODULE) as api,
        running_worker(settings, tmp_path / "worker.log", "ctl.async", module=MODULE) as worker,
    ):
        await api.ready()
        await worker.ready()
        async with AsyncClient(api.address) as client:
            done = await submit(client, ledger)
            await client.wait(done, timedelta(seconds=20))
            in_a_moment = await submit(client, ledger, delay=timedelta(seconds=1.5))
            cancelled = await submit(client, ledger, delay=HOUR)
            expiring = await submit(client, ledger, delay=HOUR, expires_at=datetime.now(UTC) + 2 * HOUR)
            await client.cancel(cancelled)
            for each in (done, in_a_moment, cancelled):
                with pytest.raises(NotWaitingError):
                    await client.reschedule(each, delay=HOUR)
            for delay in (3 * HOUR, timedelta(days=100)):
                with pytest.raises(InvalidTaskError):
                    await client.reschedule(expiring, delay=delay)
            with pytest.raises(InvalidTaskError):
                await client.reschedule(expiring)
            with pytest.raises(TaskNotFoundError):
                await client.reschedule(new_id(), delay=HOUR)
            assert (await client.wait(in_a_moment, timedelta(seconds=20))).state is State.SUCCEEDED
            # A task that is cancelled after it was changed does not start by either of its records.
            changed = await submit(client, ledger, delay=timedelta(seconds=6))
            await client.reschedule(changed, delay=timedelta(seconds=4))
            assert str((await client.cancel(changed)).cancellation) == "before_start"
            await asyncio.sleep(7)
            assert starts(ledger, changed) == []
            assert (await client.get(changed)).state is State.CANCELLED


@pytest.mark.long
@pytest.mark.parametrize("crash_at", [None, "after_withdrawal"])
async def test_whoever_takes_over_finishes_it(
    settings: Settings, ledger: Path, tmp_path: Path, crash_at: str | None
) -> None:
    """Without a worker the change waits for one; a worker that dies in the middle of it loses nothing."""
    armed = settings.model_copy(update={"crash_at": crash_at, "data_dir": tmp_path / "armed"})
    with running_api(settings, tmp_path / "api.log", *TYPES, module=MODULE) as api:
        await api.ready()
        async with AsyncClient(api.address) as client:
            task_id = await submit(client, ledger, delay=timedelta(seconds=40))
            if crash_at is None:
                told = await client.reschedule(task_id, delay=timedelta(seconds=1))
                assert told.deferrals == 0
            else:
                with running_worker(armed, tmp_path / "first.log", "ctl.async", module=MODULE) as first:
                    await first.ready()
                    changing = asyncio.create_task(client.reschedule(task_id, delay=timedelta(seconds=1)))
                    await eventually((armed.data_dir / f"crashed-at-{crash_at}").exists, within=30)
                    await changing
            with running_worker(settings, tmp_path / "second.log", "ctl.async", module=MODULE):
                final = await client.wait(task_id, timedelta(seconds=60))
            assert (final.state, final.deferrals) == (State.SUCCEEDED, 1)
            assert len(starts(ledger, task_id)) == 1


def worker_log(path: Path, text: str) -> Callable[[], int]:
    """Counts the lines of a worker's log with a text."""
    return lambda: path.read_text().count(text)
