"""What programs read of the overview is what its page shows; lanes with nothing to tell take no room there."""

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from html import unescape
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from pydantic import BaseModel

from ingest.control import LaneState
from laneway.client.operations import Overview
from laneway.registry import Registry
from schemas.control import LaneControl
from schemas.status import State
from schemas.task import Lane, Priority
from tests.support.dashboard import Window, status_of, window_on, worker_of
from tests.support.waiting import eventually

NOW = datetime.now(UTC)


class Letter(BaseModel):
    to: str


def send(payload: Letter) -> None:
    """Send a letter."""


@pytest.fixture
async def window(tmp_path: Path) -> AsyncIterator[Window]:
    registry = Registry()
    registry.task("email")(send)
    window = window_on(tmp_path, registry)
    at = NOW - timedelta(minutes=4)
    held = LaneControl(type="email", priority=Priority.HIGH, paused=True, at=at, by="api: ada", reason="stocktaking")
    window.lanes[Lane("email", Priority.HIGH)] = LaneState(Lane("email", Priority.HIGH), 12, held, 0.0)
    window.lanes[Lane("email", Priority.NORMAL)] = LaneState(Lane("email", Priority.NORMAL), 0, None, 2.5)
    window.put(
        status_of("a", priority=Priority.HIGH, created_at=at),
        *(
            status_of(
                f"s{number}", state=State.SUCCEEDED, attempt=1, created_at=at, started_at=at + timedelta(seconds=1)
            )
            for number in range(9)
        ),
        status_of("d", state=State.DEAD_LETTERED, created_at=at),
    )
    window.workers = [worker_of("here-1")]
    yield window
    window.store.close()


async def get(window: Window, address: str) -> httpx.Response:
    async with window.client() as client:
        return await client.get(address)


async def test_programs_read_what_the_page_shows(window: Window) -> None:
    async def known() -> Overview | None:
        document = (await get(window, "/api/overview")).content
        told = msgspec.json.decode(document, type=Overview)
        return told if told.hour is not None and told.lanes is not None else None

    told = await eventually(known)
    assert told is not None
    assert told.hour is not None
    assert told.lanes is not None
    page = unescape((await get(window, "/")).text)
    for concern in told.attention:
        # Two looks: seconds may pass between them.
        assert re.sub(r"\d+ s\b", "", concern.said).split(";")[0][:40] in re.sub(r"\d+ s\b", "", page)
    assert [round(sum(rates) * 60) for rates in (told.hour.accepted, told.hour.succeeded, told.hour.failed)] == [
        11,
        9,
        1,
    ]
    tiles = {state: int(value) for state, value in re.findall(r'id="of-(\w+)"[^>]*><span class="value">(\d+)<', page)}
    assert tiles == {"queued": 1, "running": 0, "succeeded": 9, "dead_lettered": 1}
    assert told.workers == window.workers
    lanes = {str(lane.priority): lane for lane in told.lanes}
    assert (lanes["high"].paused, lanes["high"].lag, lanes["high"].reason) == (True, 12, "stocktaking")
    assert lanes["high"].oldest_seconds is not None
    assert lanes["high"].oldest_seconds >= 240
    assert lanes["normal"].rate == 2.5
    assert lanes["normal"].waits is not None
    assert (lanes["normal"].waits.p50, lanes["normal"].waits.tasks) == (1.0, 9)


async def test_a_lane_of_which_there_is_nothing_to_tell_takes_no_row(window: Window) -> None:
    async def rows() -> list[str] | None:
        page = (await get(window, "/")).text
        return re.findall(r'<tr id="([^"]+)"', page) or None

    assert await eventually(rows) == ["email.high", "email.normal"]
    page = (await get(window, "/")).text
    assert "1 other lane is empty" in page
    assert "1 s / 1 s" in page
    assert "2.50 /s" in page
    window.lanes.clear()


async def test_before_anything_is_known_it_says_so(window: Window) -> None:
    window.workers = None
    window.checks["broker"] = "it does not answer"
    told: dict[str, Any] = (await get(window, "/api/overview")).json()
    assert told["workers"] is None
    assert {"grave": True, "subject": "Kafka", "said": "it does not answer", "link": "/readyz"} in told["attention"]
