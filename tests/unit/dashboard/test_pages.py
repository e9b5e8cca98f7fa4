"""Every page shows what others wrote as text, and nothing on it can run or come from elsewhere."""

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from html import unescape
from pathlib import Path
from typing import Final
from urllib.parse import quote

import httpx
import msgspec
import pytest
from msgspec import Raw
from pydantic import BaseModel

from ingest.control import LaneState
from laneway.registry import Registry
from schemas.control import LaneControl
from schemas.dead_letters import DeadLetter, DeadLetterGroup, DeadLetterPage
from schemas.replay import ReplayCounts, ReplayPlan, ReplayState, ReplayView, Sample, Selection, Source
from schemas.schedule import Missed, Overlap, ScheduleView, TaskTemplate
from schemas.status import ErrorInfo, Progress, State
from schemas.task import Lane, Priority
from schemas.worker import LaneShare, RunningTask, TypeSlots
from tests.support.dashboard import Window, status_of, window_on, worker_of

NASTY: Final = '<script>alert(1)</script>"><img src=x onerror=alert(2)>\u202egnirts'
IN_A_PATH: Final = NASTY.replace("/", "")
NOW: Final = datetime.now(UTC)
ID: Final = "01a21e31-72be-75c4-8166-27413dd57f03"


class Letter(BaseModel):
    to: str
    copies: int = 1


def send(payload: Letter) -> None:
    """Send a letter."""


@pytest.fixture
async def window(tmp_path: Path) -> AsyncIterator[Window]:
    registry = Registry()
    registry.task("email")(send)
    window = window_on(tmp_path, registry)
    yield window
    window.store.close()


async def page(window: Window, address: str) -> httpx.Response:
    async with window.client() as client:
        return await client.get(address)


@pytest.fixture
def hostile(window: Window) -> Window:
    error = ErrorInfo(type=NASTY, message=NASTY, retriable=True, attempt=1, at=NOW)
    for number, state in enumerate(State):
        window.put(
            status_of(
                ID if state is State.DEAD_LETTERED else f"{NASTY}{number}",
                type=NASTY,
                state=state,
                labels={NASTY[:60]: NASTY},
                error=error,
                errors=(error,),
                worker=NASTY,
                ordering_key=NASTY,
                replay_id=NASTY,
                finished_at=NOW if state.final else None,
                progress=Progress(10.0, NASTY),
                result=Raw(b'{"x":"</pre><script>alert(3)</script>"}'),
            )
        )
    lane = Lane("email", Priority.HIGH)
    held = LaneControl(type="email", priority=Priority.HIGH, paused=True, at=NOW, by=NASTY, reason=NASTY)
    window.lanes[lane] = LaneState(lane, 3, held)
    window.checks["broker"] = NASTY
    window.actions.append((NASTY, NASTY, NASTY))
    window.dead = dead_letters(error)
    window.replays.append(replay(error))
    hostile = worker_of(
        NASTY,
        host=NASTY,
        version=NASTY,
        lanes=[LaneShare(type=NASTY, priority=Priority.LOW, partitions=[0])],
        slots=[TypeSlots(type=NASTY, total=1, busy=1)],
        running=[RunningTask(id=NASTY, type=NASTY, priority=Priority.LOW, attempt=1, since=NOW)],
        stuck=True,
    )
    window.workers = [hostile, msgspec.structs.replace(hostile, worker=f"{NASTY}2", alive=False)]
    template = TaskTemplate(type=NASTY, payload=Raw(b'"<script>alert(4)</script>"'))
    window.schedules.append(
        ScheduleView(
            name=NASTY,
            cron=NASTY,
            timezone=NASTY,
            task=template,
            missed=Missed.ONE,
            overlap=Overlap.ALLOW,
            paused=False,
            defined_at=NOW,
            next=[NOW + timedelta(hours=1)],
        )
    )
    return window


def dead_letters(error: ErrorInfo) -> DeadLetterPage:
    letter = DeadLetter(
        position=NASTY, id=NASTY, type=NASTY, reason=NASTY, error=error, at=NOW, source=NASTY, worker=NASTY
    )
    no_task = msgspec.structs.replace(letter, id=None, error=None)
    group = DeadLetterGroup(
        type=NASTY, error=NASTY, reason=NASTY, count=2, open=1, oldest=NOW, newest=NOW, message=NASTY
    )
    return DeadLetterPage(groups=[group], letters=[letter, no_task], complete=False)


def replay(error: ErrorInfo) -> ReplayView:
    sample = Sample(
        id=NASTY, type=NASTY, priority=Priority.LOW, position=NASTY, state=State.SUCCEEDED, error=error, diff=[NASTY]
    )
    plan = ReplayPlan(
        sources=[],
        records=5,
        selected=2,
        types={NASTY: 2},
        states={"succeeded": 2},
        errors={NASTY: 1},
        passed_over={NASTY: 1},
        samples=[sample],
        seconds=3.0,
        planned_at=NOW,
        planned_in=1.0,
    )
    return ReplayView(
        id=ID,
        state=ReplayState.PLANNED,
        reason=NASTY,
        counts=ReplayCounts(selected=2),
        dry_run=True,
        select=Selection(types=[NASTY], labels={NASTY: NASTY}, error=NASTY, where=NASTY, key=NASTY, ids=[NASTY]),
        source=Source.TASKS,
        rate=10.0,
        max=None,
        priority=None,
        transform=None,
        canary=None,
        created_at=NOW,
        plan=plan,
    )


PAGES: Final = (
    "/",
    "/tasks",
    f"/tasks?q={NASTY}&label.{NASTY[:20]}={NASTY}",
    "/tasks?since=7d&state=dead_lettered",
    f"/tasks/{ID}",
    f"/tasks/{ID}/cancel",
    "/tasks/cancel",
    f"/tasks/{IN_A_PATH}",
    "/lanes",
    "/lanes/email/high/pause",
    f"/lanes/email/{IN_A_PATH}/pause",
    "/workers",
    "/schedules",
    "/schedules/new",
    "/types",
    "/types/email",
    "/types/email?as=json",
    f"/types/{IN_A_PATH}",
    "/chat",
    "/actions",
    "/dead-letters",
    f"/dead-letters/redrive?type=email&error={NASTY}",
    "/replays",
    f"/replays/new?where={NASTY}",
    f"/replays/{ID}",
    f"/replays/{ID}/run",
    f"/tasks/{ID}/run-again",
    f"/chat?task_id={ID}",
)


@pytest.mark.parametrize("address", PAGES)
async def test_hostile_text_is_shown_as_text(hostile: Window, address: str) -> None:
    answer = await page(hostile, address)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    tags = re.findall(r"<(script|img)\b[^>]*>", answer.text)
    assert tags.count("script") == 4, "our own four"
    assert tags.count("img") == 1, "the brand"
    assert "onerror=alert" not in re.sub(r"&#?\w+;|>[^<]*<|\"[^\"]*\"", "", answer.text)


@pytest.mark.parametrize("address", PAGES)
async def test_nothing_inline_and_nothing_from_elsewhere(hostile: Window, address: str) -> None:
    answer = await page(hostile, address)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert not re.search(r"<script(?![^>]*\bsrc=\"/static/)", answer.text)
    assert not re.search(r"<[a-z]+\b[^>]*\s(style|on[a-z]+)=", re.sub(r"\"[^\"]*\"", '""', answer.text))
    for link in re.findall(r"(?:src|href|action|hx-get|hx-post)=\"([^\"]*)\"", answer.text):
        assert not unescape(link) or (unescape(link).startswith(("/", "#")) and not link.startswith("//")), link


async def test_text_of_others_keeps_its_direction_to_itself(hostile: Window) -> None:
    answer = await page(hostile, f"/tasks/{ID}")
    without = re.sub(r"<bdi>.*?</bdi>", "", answer.text, flags=re.DOTALL)
    without = re.sub(r"\"[^\"]*\"", "", without)
    assert "\u202e" not in re.sub(r"<title>.*?</title>", "", without, flags=re.DOTALL)


async def test_a_result_is_shown_with_its_numbers_as_they_are(window: Window) -> None:
    window.put(status_of(ID, state=State.SUCCEEDED, result=Raw(b'{"n":123456789012345678901234567890,"p":1.10}')))
    answer = await page(window, f"/tasks/{ID}")
    assert "123456789012345678901234567890" in answer.text
    assert "1.10" in answer.text


async def test_a_megabyte_is_folded_and_can_be_had_whole(window: Window) -> None:
    text = "x" * 1_000_000
    window.put(status_of(ID, state=State.SUCCEEDED, result=Raw(f'"{text}"'.encode())))
    answer = await page(window, f"/tasks/{ID}")
    assert len(answer.content) < 40_000
    assert f'href="/tasks/{ID}/result"' in answer.text
    whole = await page(window, f"/tasks/{ID}/result")
    assert whole.text == f'"{text}"'
    assert whole.headers["content-type"].startswith("text/plain")
    assert "sandbox" in whole.headers["content-security-policy"]


async def test_a_name_of_others_goes_into_no_header(window: Window) -> None:
    hostile = 'a"\r\nset-cookie: x=1\u202e'
    window.put(status_of(hostile, state=State.SUCCEEDED, result=Raw(b"1")))
    answer = await page(window, f"/tasks/{quote(hostile)}/result")
    assert answer.text == "1"
    assert "set-cookie" not in answer.headers
    assert answer.headers["content-disposition"] == 'inline; filename="a___set-cookie__x_1_-result.json"'


async def test_an_error_is_a_page(window: Window) -> None:
    answer = await page(window, "/tasks/nothing-like-it")
    assert answer.status_code == 404
    assert "Task not found" in answer.text
    assert (await page(window, "/types/nothing")).status_code == 404
    assert (await page(window, "/tasks?state=nothing")).status_code == 400


async def test_a_live_part_that_has_not_changed_is_not_sent_again(window: Window) -> None:
    async with window.client() as client:
        first = await client.get("/tasks?part=live")
        again = await client.get("/tasks?part=live", headers={"if-none-match": first.headers["etag"]})
    assert first.status_code == 200
    assert again.status_code == 304
    assert not again.content


async def test_a_filter_finds_and_its_address_says_it(window: Window) -> None:
    window.put(
        status_of("a", type="email", state=State.SUCCEEDED, labels={"tenant": "acme"}),
        status_of("b", type="data", state=State.SUCCEEDED),
        status_of("c", type="data", state=State.QUEUED, labels={"tenant": "acme"}),
    )

    async def found(query: str) -> set[str]:
        answer = await page(window, f"/tasks?{query}")
        assert answer.status_code == 200, answer.text
        return set(re.findall(r'id="t-(\w)"', answer.text))

    assert await found("") == {"a", "b", "c"}
    assert await found("type=data&state=") == {"b", "c"}
    assert await found("labels=tenant%3Dacme&type=") == {"a", "c"}
    assert await found("label.tenant=acme&state=queued") == {"c"}
    assert await found("since=15m&priority=high") == set()


async def test_a_list_goes_on_by_its_cursor(window: Window) -> None:
    window.put(*(status_of(f"{number:03}", created_at=NOW - timedelta(seconds=number)) for number in range(120)))
    seen: list[str] = []
    address: str | None = "/tasks"
    while address is not None:
        answer = await page(window, address)
        seen += re.findall(r'id="t-(\d+)"', answer.text)
        following = re.search(r'href="(/tasks\?cursor=[^"]+)"', answer.text)
        address = unescape(following[1]) if following else None
    assert seen == [f"{number:03}" for number in range(120)]
