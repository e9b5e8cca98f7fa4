"""What an operator does is asked for by our own pages alone, and recorded."""

import re
from collections.abc import AsyncIterator
from html import unescape
from pathlib import Path

import httpx
import pytest
from pydantic import BaseModel

from laneway.registry import Registry
from schemas.status import ErrorInfo, State
from schemas.task import Lane, Priority
from tests.support.dashboard import Window, status_of, window_on
from tests.unit.dashboard.test_pages import replay


class Letter(BaseModel):
    to: str


def send(payload: Letter) -> None:
    """Send a letter."""


@pytest.fixture
async def window(tmp_path: Path) -> AsyncIterator[Window]:
    registry = Registry()
    registry.task("email")(send)
    window = window_on(tmp_path, registry)
    yield window
    window.store.close()


async def post(window: Window, address: str, form: dict[str, str] | None = None, **headers: str) -> httpx.Response:
    async with window.client() as client:
        if headers:
            del client.headers["sec-fetch-site"]
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await client.post(address, data=form or {"": ""}, headers=named)


@pytest.mark.parametrize(
    "headers",
    [
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
        {"sec_fetch_site": "none"},
        {"origin": "http://evil.test"},
        {"origin": "null"},
        {"accept": "text/html"},
    ],
)
async def test_somebody_elses_page_is_refused(window: Window, headers: dict[str, str]) -> None:
    window.put(status_of("a"))
    for address in ("/tasks/a/cancel", "/lanes/email/high/pause", "/types/email", "/schedules/new", "/chat/ask"):
        assert (await post(window, address, None, **headers)).status_code == 403
    assert not window.cancelled
    assert not window.actions


async def test_a_browser_that_names_its_origin_alone_is_taken(window: Window) -> None:
    window.put(status_of("a"))
    assert (await post(window, "/tasks/a/cancel", origin="http://laneway.test")).status_code == 303
    assert window.cancelled == ["a"]


async def test_a_cancellation_says_what_came_of_it(window: Window) -> None:
    window.put(status_of("a"))
    answer = await post(window, "/tasks/a/cancel")
    assert answer.headers["location"] == "/tasks/a?note=cancel-before_start"
    assert window.actions == [("127.0.0.1", "task.cancel", "a")]
    async with window.client() as client:
        assert "Cancelled before it started" in (await client.get(answer.headers["location"])).text


async def test_a_lane_is_held_with_a_reason_and_freed(window: Window) -> None:
    lane = Lane("email", Priority.HIGH)
    await post(window, "/lanes/email/high/pause", {"reason": "the mail server is down"})
    control = window.lanes[lane].control
    assert control is not None
    assert (control.paused, control.reason, control.by) == (True, "the mail server is down", "api: 127.0.0.1")
    await post(window, "/lanes/email/high/resume")
    control = window.lanes[lane].control
    assert control is not None
    assert not control.paused
    assert [action for _, action, _ in window.actions] == ["lane.pause", "lane.resume"]


async def test_what_failed_is_run_again_out_of_the_dead_letters(window: Window) -> None:
    window.put(status_of("a", state=State.DEAD_LETTERED), status_of("b", state=State.SUCCEEDED))
    window.replays.append(replay(ErrorInfo(type="E", message="no", retriable=True)))
    await post(window, "/tasks/a/run-again")
    await post(window, "/tasks/b/run-again", {"priority": "high"})
    assert [(made.select.ids, made.priority, made.dry_run, dead) for made, dead in window.made] == [
        (["a"], None, False, True),
        (["b"], Priority.HIGH, False, False),
    ]
    assert [action for _, action, _ in window.actions] == ["task.run_again"] * 2


async def test_a_group_of_dead_letters_is_sent_back_up_to_the_question(window: Window) -> None:
    window.replays.append(replay(ErrorInfo(type="E", message="no", retriable=True)))
    form = {"type": "email", "error": "SMTPError", "until": "2026-01-31T12:00:00Z"}
    answer = await post(window, "/dead-letters/redrive", form)
    assert answer.headers["location"].startswith("/replays/")
    ((made, dead),) = window.made
    assert (made.select.types, made.select.error, dead) == (["email"], "SMTPError", True)
    assert made.select.until is not None


async def test_a_replay_is_only_planned_at_first(window: Window) -> None:
    window.replays.append(replay(ErrorInfo(type="E", message="no", retriable=True)))
    form = {"types": "email", "labels": "a=b", "rate": "10", "priority": "as it was", "patch": '{"x": 1}', "max": ""}
    await post(window, "/replays/new", form)
    ((made, _),) = window.made
    assert made.dry_run
    assert (made.select.types, made.select.labels, made.rate, made.priority) == (["email"], {"a": "b"}, 10, None)
    assert (made.patch, made.max) == ({"x": 1}, None)
    assert not made.shadow
    refused = await post(window, "/replays/new", {"types": "email", "patch": "[oops"})
    assert refused.status_code == 422
    assert len(window.made) == 1
    await post(window, "/replays/new", {"types": "email", "priority": "low", "shadow": "yes"})
    assert window.made[1][0].shadow


async def test_all_that_match_are_cancelled_and_no_others(window: Window) -> None:
    window.put(
        *(status_of(f"w{number:03}", labels={"tenant": "acme"}) for number in range(450)),
        status_of("done", state=State.SUCCEEDED, labels={"tenant": "acme"}),
        status_of("other"),
    )
    async with window.client() as client:
        asked = await client.get("/tasks/cancel?label.tenant=acme")
        assert "450" in asked.text
        form = _hidden(asked.text)
        window.put(status_of("late", labels={"tenant": "acme"}))
        steps = 0
        while True:
            answer = await client.post("/tasks/cancel", data=form)
            steps += 1
            if answer.status_code == 303:
                break
            form = _hidden(answer.text)
    assert steps > 1
    assert sorted(window.cancelled) == [f"w{number:03}" for number in range(450)]
    assert "count=450" in answer.headers["location"]
    assert [action for _, action, _ in window.actions] == ["tasks.cancel"] * steps


def _hidden(page: str) -> dict[str, str]:
    fields = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', page)
    return {unescape(name): unescape(value) for name, value in fields}
