"""After everything was stopped and started again on the same data, its history is there, and who watches goes on."""

import re
from pathlib import Path
from textwrap import dedent
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import HANDLERS
from tests.support.api import free_port
from tests.support.stacks import LANEWAY, RunningStack, running_stack
from tests.support.terminals import terminal
from tests.support.waiting import eventually

OURS = {"sec-fetch-site": "same-origin"}


def submitted(stack: RunningStack, type_name: str) -> str:
    answer = httpx.post(f"{stack.url}/api/tasks", json={"type": type_name, "payload": {"grams": 7}})
    task_id: str = answer.raise_for_status().json()["id"]
    httpx.get(f"{stack.url}/api/tasks/{task_id}?wait=30", timeout=60).raise_for_status()
    return task_id


def hold(stack: RunningStack) -> None:
    form = {"reason": "stocktaking"}
    answer = httpx.post(f"{stack.url}/lanes/shop.parcel/low/pause", data=form, headers=OURS)
    assert answer.status_code == 303


def seen(stack: RunningStack, task_id: str) -> dict[str, Any]:
    """What an operator sees of the past; fails while something of it is not there yet."""
    with httpx.Client(base_url=stack.url, timeout=30) as http:
        overview, actions = http.get("/").text, http.get("/actions").text
        tiles = re.findall(r'id="of-(\w+)"[^>]*><span class="value">(\d+)<', overview)
        assert tiles, "the hour is read"
        done = re.findall(r'<tr id="a-([^"]+)">', actions)
        assert done, "the actions are read"
        assert "not told" not in actions
        timeline = http.get(f"/api/tasks/{task_id}/timeline").json()
        lanes = {f"{lane['type']}.{lane['priority']}": lane for lane in http.get("/api/lanes").json()["lanes"]}
        held = lanes["shop.parcel.low"]
        return {
            "tiles": dict(tiles),
            "actions": done,
            "events": [(event["state"], event["at"], event.get("error")) for event in timeline["events"]],
            "why": http.get(f"/tasks/{task_id}").text.count("broke at 7 g"),
            "held": (held["paused"], held["reason"], held["since"]),
            "waits": lanes["shop.parcel.normal"]["waits"],
        }


@pytest.mark.long
async def test_history_is_there_and_top_goes_on(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(dedent(HANDLERS), "utf-8")
    options = ("--import", "shop", "--port", str(free_port()))
    with running_stack(tmp_path, *options, prefix="again.") as stack:
        await stack.says("Laneway is up")
        submitted(stack, "shop.parcel")
        task_id = submitted(stack, "shop.fragile")
        hold(stack)
        before = await eventually(lambda: seen(stack, task_id), within=30)
        with terminal([LANEWAY, "top", "--every", "0.2", "--api", stack.url], columns=160) as shown:
            await eventually(lambda: "shop.parcel.low: held since" in shown.screen, within=30)
            assert stack.interrupt() == 0, stack.output
            await eventually(lambda: "no answer for" in shown.screen, within=30)
            assert "shop.parcel.low: held since" in shown.screen, "what it knew stays"
            with running_stack(tmp_path, *options, prefix="again.") as again:
                await again.says("Laneway is up")
                after = await eventually(lambda: seen(again, task_id), within=30)
                assert after == before
                await eventually(lambda: "no answer" not in shown.screen, within=30)
                await eventually(lambda: "shop.parcel.low: held since" in shown.screen, within=30)
                shown.press("q")
                assert await eventually(lambda: shown.process.poll() is not None, within=10)
                assert shown.process.returncode == 0
