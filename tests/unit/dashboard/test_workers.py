"""The page of the workers says what each runs, which need somebody, and how to start one where there is none."""

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from laneway.registry import Registry
from schemas.task import Priority
from schemas.worker import RunningTask
from tests.support.dashboard import Window, window_on, worker_of


@pytest.fixture
async def window(tmp_path: Path) -> AsyncIterator[Window]:
    window = window_on(tmp_path, Registry())
    yield window
    window.store.close()


async def page(window: Window, address: str = "/workers") -> str:
    async with window.client() as client:
        answer = await client.get(address)
    assert answer.status_code == 200
    return answer.text


def words(text: str) -> str:
    return " ".join(re.sub(r"<[^>]*>", "", text).split())


async def test_without_a_worker_it_says_how_to_start_one(window: Window) -> None:
    text = await page(window)
    assert "<code>laneway worker</code>" in text
    assert "none is alive, so nothing runs" in words(await page(window, "/"))


async def test_before_the_reports_are_read_it_claims_nothing(window: Window) -> None:
    window.workers = None
    assert "laneway worker</code>" not in await page(window)
    assert "none is alive" not in await page(window, "/")


async def test_what_runs_leads_to_its_task_and_its_lane(window: Window) -> None:
    window.workers = [worker_of("here-1")]
    text = await page(window)
    assert 'href="/tasks/a"' in text
    assert 'href="/lanes#email.high"' in text
    assert "here, process 1" in words(text)
    assert "email 1 of 2 busy" in words(text)
    assert 'aria-current="page"' in text


async def test_those_that_need_somebody_come_first_and_are_told_by_a_word(window: Window) -> None:
    now = datetime.now(UTC)
    window.workers = [
        worker_of("a-fine"),
        worker_of("b-stuck", stuck=True, started_at=now - timedelta(hours=1), last_end_at=now - timedelta(minutes=5)),
        worker_of("c-silent", alive=False, at=now - timedelta(minutes=2)),
    ]
    text = await page(window)
    assert re.findall(r'<article id="([^"]+)"', text) == ["b-stuck", "c-silent", "a-fine"]
    assert "b-stuck stuck" in words(text)
    assert "no run has ended for 5 min" in words(text)
    assert "c-silent silent" in words(text)
    assert "Nothing was heard of it for 2 min" in words(text)


async def test_a_worker_with_a_hundred_tasks_does_not_fill_the_page(window: Window) -> None:
    now = datetime.now(UTC)
    running = [RunningTask(id=f"t{n}", type="email", priority=Priority.LOW, attempt=1, since=now) for n in range(100)]
    window.workers = [worker_of("w", running=running, running_total=512)]
    text = await page(window)
    assert text.count('<li id="r-w-') == 20
    assert "512 tasks run here" in words(text)
    assert "and 492 more" in words(text)
