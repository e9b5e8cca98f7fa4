"""The test kit in a user's hands: with and without a loop, with new handlers, seeds, files, and clear errors."""

import asyncio
import gc
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from laneway import Context, RetryLater, RetryPolicy
from laneway.registry import Registry
from laneway.testing import Sandbox
from schemas.errors import SandboxError, TaskFailedError, TaskNotFoundError, TypeNotFoundError
from schemas.settings import Settings, WorkerSettings
from schemas.status import State

handlers = Registry()


@handlers.task("t.fails", retry=RetryPolicy(max_attempts=4))
async def fails(payload: dict[str, Any]) -> None:
    """Fail."""
    raise ValueError("no")


@handlers.task("t.waits")
async def waits(payload: dict[str, Any]) -> None:
    """Ask for ever to be run later."""
    raise RetryLater(timedelta(days=1))


@handlers.task("t.reads")
async def reads(payload: dict[str, Any], ctx: Context) -> str:
    """Copy a file."""
    with ctx.files.create("copy.txt", "text/plain") as copy:
        copy.write(await asyncio.to_thread(ctx.files.path(payload["ref"]).read_bytes))
    return copy.ref


async def test_it_works_beside_a_running_loop() -> None:
    asyncio.get_running_loop()
    with Sandbox(handlers=handlers) as lane:
        task = lane.submit("t.fails", {})
        lane.run()
        assert lane.status(task.id).attempt == 4
        # Off this loop, so that it can go on meanwhile.
        task = lane.submit("t.fails", {}, delay=60)
        await asyncio.to_thread(lane.run)
        assert lane.status(task.id).attempt == 4


def waits_of(seed: int | None) -> tuple[int, list[float]]:
    with Sandbox(handlers=handlers, seed=seed) as lane:
        task = lane.submit("t.fails", {})
        lane.run()
        return lane.seed, [(e.not_before - e.at).total_seconds() for e in lane.events(task.id) if e.not_before]


def test_a_seed_repeats_the_jitter() -> None:
    seed, waits = waits_of(None)
    assert len(waits) == 3
    assert waits_of(seed)[1] == waits
    assert waits_of(seed + 1)[1] != waits


def test_a_failure_tells_the_seed() -> None:
    with pytest.raises(ZeroDivisionError) as raised, Sandbox(seed=7):
        _ = 1 / 0
    assert raised.value.__notes__ == ["the sandbox was Sandbox(seed=7)"]


def test_what_never_ends_is_named() -> None:
    with Sandbox(handlers=handlers) as lane:
        task = lane.submit("t.waits", {})
        with pytest.raises(SandboxError, match=rf"not final after 5 days.*{task.id} \(retrying\)"):
            lane.run(within=timedelta(days=5))
        assert 4 <= lane.status(task.id).deferrals <= 5


def test_run_can_wait_for_one_task_alone() -> None:
    with Sandbox(handlers=handlers) as lane:
        forever, once = lane.submit("t.waits", {}), lane.submit("t.fails", {})
        lane.run(once.id)
        assert lane.status(once.id).state is State.DEAD_LETTERED
        assert lane.status(forever.id).state is State.RETRYING


def test_unknown_ids_types_and_results_are_told() -> None:
    with Sandbox(handlers=handlers) as lane:
        for ask in (lane.status, lane.result, lane.events, lane.run, lane.crash, lane.cancel):
            with pytest.raises(TaskNotFoundError):
                ask("nobody")
        for about_type in (lambda: lane.submit("t.fail", {}), lambda: lane.pause("t.fail")):
            with pytest.raises(TypeNotFoundError, match="did you mean"):
                about_type()
        task = lane.submit("t.fails", {})
        with pytest.raises(TaskFailedError, match="it is queued"):
            lane.result(task.id)
        lane.run()
        with pytest.raises(TaskFailedError, match="it is dead_lettered: ValueError: no"):
            lane.result(task.id)
        with pytest.raises(ValueError, match="no point 'lunch'; there are running, before_status"):
            lane.crash(task.id, "lunch")  # type: ignore[arg-type]


def test_a_handler_that_is_registered_later_is_known() -> None:
    mine = Registry()
    with Sandbox(handlers=mine) as lane:
        with pytest.raises(TypeNotFoundError):
            lane.submit("t.new", {})

        @mine.task("t.new")
        async def new(payload: dict[str, Any]) -> int:
            return 1

        task = lane.submit("t.new", {})
        lane.run()
        assert lane.result(task.id) == 1


def test_a_handler_may_submit_but_not_run() -> None:
    mine = Registry()
    with Sandbox(handlers=mine) as lane:

        @mine.task("t.parent", retry=RetryPolicy(max_attempts=1))
        async def parent(payload: dict[str, Any]) -> str:
            child = lane.submit("t.child", {}).id
            for ask in (lane.run, lambda: lane.cancel(child), lambda: lane.pause("t.child")):
                with pytest.raises(SandboxError, match="from within a handler"):
                    ask()
            return child

        @mine.task("t.child")
        def child(payload: dict[str, Any]) -> str:
            return lane.submit("t.grandchild", {}).id

        @mine.task("t.grandchild")
        def grandchild(payload: dict[str, Any]) -> str:
            return "hello"

        first = lane.submit("t.parent", {})
        lane.run()
        assert lane.result(lane.result(lane.result(first.id))) == "hello"


@pytest.mark.parametrize("name", ["t.async", "t.def", "t.process"])
def test_what_is_the_tests_own_is_no_end_of_a_task(name: str) -> None:
    mine = Registry()

    @mine.task("t.async")
    async def in_async(payload: dict[str, Any]) -> None:
        pytest.fail("said in a handler")

    @mine.task("t.def")
    def in_def(payload: dict[str, Any]) -> None:
        pytest.fail("said in a handler")

    mine.task("t.process", executor="process")(in_def)
    with Sandbox(handlers=mine) as lane:
        lane.submit(name, {})
        with pytest.raises(pytest.fail.Exception, match="said in a handler"):
            lane.run()


def test_files_go_in_and_out() -> None:
    with Sandbox(handlers=handlers) as lane:
        with lane.files.create("in.txt", "text/plain") as file:
            file.write(b"content")
        task = lane.submit("t.reads", {"ref": file.ref})
        lane.run()
        found = lane.files.path(lane.result(task.id))
        assert found.read_bytes() == b"content"
    assert not found.exists()


def test_thousands_of_tasks_keep_their_results() -> None:
    mine = Registry()

    @mine.task("t.noop")
    async def noop(payload: int) -> int:
        return payload

    with Sandbox(handlers=mine) as lane:
        ids = [lane.submit("t.noop", number).id for number in range(3_000)]
        lane.run()
        assert [lane.result(task_id) for task_id in ids] == list(range(3_000))


def test_neither_kafka_nor_a_framework_is_imported() -> None:
    strangers = "aiokafka", "confluent_kafka", "fastapi", "faust", "httpx", "mode", "starlette", "uvicorn", "uvloop"
    program = (
        "import sys; from laneway.testing import Sandbox; lane = Sandbox(); lane.close();"
        f" print(sorted(set({strangers}) & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


def test_the_plugin_gives_a_fixture_and_tells_the_seed(tmp_path: Path) -> None:
    (tmp_path / "test_theirs.py").write_text(
        "def test_it(laneway_sandbox):\n"
        "    assert laneway_sandbox.now\n"
        "    assert laneway_sandbox.seed is None, 'shows the seed'\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:randomly", "-p", "no:cacheprovider", str(tmp_path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert "shows the seed" in done.stdout
    assert "the sandbox was Sandbox(seed=" in done.stdout


@handlers.task("t.stops", timeout=None)
async def stops(payload: dict[str, Any], ctx: Context) -> str:
    """Look now and then whether it is called off, or never."""
    while not (payload["looks"] and ctx.cancelled):  # noqa: ASYNC110  (it is what a handler does)
        await asyncio.sleep(1)
    return "ended by itself"


@pytest.mark.parametrize(("looks", "seconds"), [(True, 1), (False, 5)])
def test_a_running_handler_is_told_and_then_stopped(looks: bool, seconds: int) -> None:
    with Sandbox(handlers=handlers) as lane:
        task = lane.submit("t.stops", {"looks": looks})
        lane.advance(10.5)
        assert lane.cancel(task.id) == "while_running"
        assert lane.cancel(task.id) == "while_running"
        lane.run()
        status = lane.status(task.id)
        assert status.state is State.CANCELLED
        assert status.finished_at is not None
        assert seconds - 1 <= (status.finished_at - status.created_at).total_seconds() - 10.5 <= seconds + 0.1
        assert lane.cancel(task.id) == "while_running"


def test_a_cancellation_outlives_a_crash() -> None:
    with Sandbox(handlers=handlers) as lane:
        task = lane.submit("t.stops", {"looks": False})
        lane.advance(10)
        assert lane.cancel(task.id) == "while_running"
        lane.kill_worker()
        assert lane.cancel(lane.submit("t.fails", {}).id) == "requested"
        lane.run()
        assert lane.status(task.id).state is State.CANCELLED


def test_what_waits_is_called_off_before_it_starts() -> None:
    with Sandbox(handlers=handlers) as lane:
        for options in ({}, {"delay": 3600}, {"ordering_key": "k"}, {"ordering_key": "k", "delay": 3600}):
            task = lane.submit("t.fails", {}, **options)
            assert lane.cancel(task.id) == "before_start"
            assert lane.cancel(task.id) == "before_start"
            assert lane.status(task.id).state is State.CANCELLED
        lane.advance(7200)
        assert {outcome.state for outcome in lane.outcomes("t.fails")} == {State.CANCELLED}
        assert lane.dead_letters("t.fails") == []


def test_rates_hold_in_virtual_time() -> None:
    mine = Registry()

    @mine.task("t.rated", rate="2/s")
    async def rated(payload: int) -> None:
        """Nothing."""

    with Sandbox(handlers=mine) as lane:
        for number in range(20):
            lane.submit("t.rated", number)
        lane.advance(5)
        assert 8 <= len(lane.outcomes("t.rated")) <= 14
        lane.run()
        assert len(lane.outcomes("t.rated")) == 20


def test_a_lane_that_pours_into_the_dead_letters_is_held_until_it_is_resumed(tmp_path: Path) -> None:
    mine = Registry()
    broken = True

    @mine.task("t.breaks", retry=RetryPolicy(max_attempts=1))
    async def breaks(payload: int) -> int:
        if broken:
            raise ValueError("a bad deploy")
        return payload

    settings = Settings(data_dir=tmp_path, worker=WorkerSettings(dead_letter_budget=5, concurrency=2))
    with Sandbox(handlers=mine, settings=settings) as lane:
        ids = [lane.submit("t.breaks", number).id for number in range(20)]
        with pytest.raises(
            SandboxError, match=r" and \d more; t\.breaks\.normal is held until resume \(dead-letter budget"
        ):
            lane.run(within=timedelta(minutes=5))
        (held,) = lane.held_lanes()
        assert (held.type, held.priority, held.by) == ("t.breaks", "normal", "sandbox-1")
        letters = len(lane.dead_letters("t.breaks"))
        assert 6 <= letters <= 8
        lane.kill_worker()  # the next one knows
        lane.advance(60)
        assert len(lane.dead_letters("t.breaks")) == letters
        broken = False
        lane.resume("t.breaks")
        lane.run()
        assert lane.held_lanes() == []
        assert [lane.result(task_id) for task_id in ids[letters:]] == list(range(letters, 20))


def test_a_closed_sandbox_leaves_no_task_pending(caplog: pytest.LogCaptureFixture) -> None:
    with Sandbox(handlers=handlers) as lane:
        lane.submit("t.stops", {"looks": False})
        lane.advance(10)
        lane.kill_worker()
        lane.advance(10)
    del lane
    gc.collect()
    assert [record.getMessage() for record in caplog.records if record.name == "asyncio"] == []
