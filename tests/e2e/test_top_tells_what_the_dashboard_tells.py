"""`laneway top` shows the overview in a terminal, ends by a key, and leaves the terminal as it was."""

import signal

import httpx
import pytest

from tests.support.stacks import LANEWAY, RunningStack
from tests.support.terminals import terminal
from tests.support.waiting import eventually


def test_a_snapshot_for_programs_and_one_for_people(stack: RunningStack) -> None:
    told = stack.run_json("top", "--api", stack.url)
    page = httpx.get(f"{stack.url}/api/overview").json()
    assert set(told) == set(page) == {"at", "attention", "hour", "lanes", "workers"}
    assert [worker["worker"] for worker in told["workers"]] == [worker["worker"] for worker in page["workers"]]
    done = stack.run("top", "--once", "--api", stack.url)
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout
    for name in ("accepted", "succeeded", told["workers"][0]["worker"]):
        assert name in done.stdout
    # `--demo` has sent a task through every lane of the built-in types.
    assert sum(lane["waits"] is not None for lane in told["lanes"]) >= 12


async def test_q_ends_it_in_a_narrow_terminal(stack: RunningStack) -> None:
    with terminal([LANEWAY, "top", "--every", "0.2", "--api", stack.url], columns=38) as shown:
        before = shown.modes()
        await eventually(lambda: "email.high" in shown.screen, within=30, what="the lanes")
        shown.press("q")
        assert await eventually(lambda: shown.process.poll() is not None, within=10)
        assert shown.process.returncode == 0
        assert shown.modes() == before
        assert "Traceback" not in shown.said
        assert "\x1b[?1049l" in shown.said, "back to what stood there before"


@pytest.mark.long
def test_an_api_that_is_not_there_is_told_in_one_line(stack: RunningStack) -> None:
    missing = stack.run("top", "--once", "--api", "http://127.0.0.1:9")
    assert missing.returncode == 1
    assert missing.stderr.startswith("laneway: ")
    assert len(missing.stderr.splitlines()) == 1


@pytest.mark.long
async def test_ctrl_c_ends_it(stack: RunningStack) -> None:
    with terminal([LANEWAY, "top", "--api", stack.url]) as shown:
        before = shown.modes()
        await eventually(lambda: "email.high" in shown.screen, within=30, what="the lanes")
        # The second look at the lanes tells how fast they flow.
        await eventually(lambda: "/s  " in shown.screen.split("wait p50")[-1], within=30, what="a rate")
        shown.process.send_signal(signal.SIGINT)
        assert await eventually(lambda: shown.process.poll() is not None, within=10)
        assert shown.process.returncode == 0
        assert shown.modes() == before
        assert "Traceback" not in shown.said
