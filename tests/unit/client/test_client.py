from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from pydantic import BaseModel

from laneway import AsyncClient, Client
from schemas.errors import (
    AdmissionError,
    IdempotencyConflictError,
    InvalidTaskError,
    ScheduleNotFoundError,
    TaskFailedError,
    TaskNotFoundError,
    TypeNotFoundError,
    UnavailableError,
)
from schemas.status import ErrorInfo, State, Status
from schemas.task import Priority

NOW = datetime(2026, 1, 31, tzinfo=UTC)


def status(state: State = State.QUEUED, **changes: Any) -> Status:
    return Status(
        id="t1",
        type="email",
        priority=Priority.HIGH,
        state=state,
        max_attempts=5,
        created_at=NOW,
        updated_at=NOW,
        **changes,
    )


def answers(*responses: httpx.Response | Exception) -> tuple[httpx.MockTransport, list[httpx.Request]]:
    """A transport that gives these answers in turn, and what it was asked."""
    left: Iterator[httpx.Response | Exception] = iter(responses)
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        request.read()
        asked.append(request)
        found = next(left)
        if isinstance(found, Exception):
            raise found
        return found

    return httpx.MockTransport(answer), asked


def document(value: object, code: int = 200) -> httpx.Response:
    return httpx.Response(code, content=msgspec.json.encode(value))


def problem(code: int, slug: str, **more: object) -> httpx.Response:
    return document({"type": f"/problems/{slug}", "status": code, "detail": "why", **more}, code)


class Recipient(BaseModel):
    to: str


def test_a_submission_says_everything_in_the_contracts_words() -> None:
    transport, asked = answers(document(status(), 202))
    with Client(transport=transport) as client:
        accepted = client.submit(
            "email",
            Recipient(to="ada@example.org"),
            priority="high",
            delay=timedelta(minutes=1),
            expires_at=NOW,
            timeout=timedelta(seconds=1.5),
            labels={"tenant": "acme"},
            idempotency_key="order-7",
        )
    assert accepted == status()
    assert asked[0].headers["idempotency-key"] == "order-7"
    assert msgspec.json.decode(asked[0].content) == {
        "type": "email",
        "payload": {"to": "ada@example.org"},
        "priority": "high",
        "delay": 60.0,
        "expires_at": "2026-01-31T00:00:00Z",
        "timeout": 1.5,
        "labels": {"tenant": "acme"},
    }


def test_a_submission_that_is_tried_again_has_the_same_key_and_body() -> None:
    transport, asked = answers(
        problem(503, "unavailable"), httpx.ReadError("gone"), httpx.ConnectError("refused"), document(status(), 202)
    )
    with Client(transport=transport) as client:
        assert client.submit("email", {}).id == "t1"
    assert len(asked) == 4
    assert len({(request.headers["idempotency-key"], request.content) for request in asked}) == 1


def test_two_submissions_have_two_keys() -> None:
    transport, asked = answers(document(status(), 202), document(status(), 202))
    with Client(transport=transport) as client:
        client.submit("email", {})
        client.submit("email", {})
    assert asked[0].headers["idempotency-key"] != asked[1].headers["idempotency-key"]


async def test_the_asynchronous_one_tries_again_just_so() -> None:
    transport, asked = answers(problem(503, "unavailable"), httpx.ReadError("gone"), document(status(), 202))
    async with AsyncClient(transport=transport) as client:
        assert (await client.submit("email", {})).id == "t1"
    assert len({request.headers["idempotency-key"] for request in asked}) == 1


def test_it_gives_up_when_the_time_for_it_is_over() -> None:
    transport, asked = answers(httpx.ConnectError("refused"))
    client = Client("http://127.0.0.1:1", retry_for=timedelta(0), transport=transport)
    with client, pytest.raises(UnavailableError, match=r"no API answers at http://127\.0\.0\.1:1"):
        client.get("t1")
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (problem(404, "task-not-found"), TaskNotFoundError),
        (problem(404, "unknown-type"), TypeNotFoundError),
        (problem(409, "idempotency-conflict"), IdempotencyConflictError),
        (problem(422, "invalid-task", violations=[{"at": "/payload/to", "why": "no"}]), InvalidTaskError),
        (httpx.Response(422, text="a proxy's page"), InvalidTaskError),
        (httpx.Response(418, text="?"), AdmissionError),
    ],
)
def test_a_problem_is_raised_as_what_it_is(answer: httpx.Response, error: type[AdmissionError]) -> None:
    transport, _ = answers(answer)
    with Client(transport=transport) as client, pytest.raises(error) as raised:
        client.get("t1")
    assert type(raised.value) is error
    if "violations" in answer.text:
        assert raised.value.extensions["violations"] == [{"at": "/payload/to", "why": "no"}]


def test_wait_asks_until_the_state_is_final() -> None:
    transport, asked = answers(
        document(status(State.RUNNING)), document(status(State.SUCCEEDED, result=msgspec.Raw(b"5")))
    )
    with Client(transport=transport) as client:
        assert client.result("t1") == 5
    assert [request.url.params["wait"] for request in asked] == ["25", "25"]


def test_wait_ends_with_its_timeout() -> None:
    transport, _ = answers(document(status(State.RUNNING)))
    with Client(transport=transport) as client, pytest.raises(TimeoutError, match="still running"):
        client.wait("t1", timedelta(0))


def test_a_result_that_never_came_is_an_error_that_says_why() -> None:
    failed = status(State.DEAD_LETTERED, error=ErrorInfo(type="OSError", message="disk", retriable=True))
    transport, _ = answers(document(failed))
    with Client(transport=transport) as client, pytest.raises(TaskFailedError, match="dead_lettered: OSError: disk"):
        client.result("t1")


def test_a_listing_is_narrowed_by_labels_and_times() -> None:
    transport, asked = answers(document({"tasks": [status()], "next_cursor": "c"}))
    with Client(transport=transport) as client:
        page = client.list(labels={"tenant": "acme"}, since=NOW, limit=5)
    assert (page.tasks, page.next_cursor) == ([status()], "c")
    assert dict(asked[0].url.params) == {"label.tenant": "acme", "since": NOW.isoformat(), "limit": "5"}


def _stored(request: httpx.Request) -> httpx.Response:
    stored = {"ref": "r", "name": request.url.params["name"], "size": 3, "sha256": "", "content_type": "text/plain"}
    return document(stored, 201) if request.content == b"abc" else httpx.Response(500)


@pytest.mark.parametrize("made", [lambda path: path, lambda _: b"abc"], ids=["path", "bytes"])
async def test_files_go_up_from_a_path_or_from_memory(tmp_path: Path, made: Callable[[Path], Path | bytes]) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"abc")

    async def stored(request: httpx.Request) -> httpx.Response:
        await request.aread()
        return _stored(request)

    def stored_now(request: httpx.Request) -> httpx.Response:
        request.read()
        return _stored(request)

    with Client(transport=httpx.MockTransport(stored_now)) as client:
        assert client.upload(made(path), name="a.txt").ref == "r"
    async with AsyncClient(transport=httpx.MockTransport(stored)) as async_client:
        assert (await async_client.upload(made(path), name="a.txt")).ref == "r"


async def test_a_file_comes_down_to_a_path(tmp_path: Path) -> None:
    content = b"x" * 600_000
    transport = httpx.MockTransport(lambda _: httpx.Response(200, content=content))
    with Client(transport=transport) as client:
        assert client.download("r", tmp_path / "a") == len(content)
    async with AsyncClient(transport=transport) as async_client:
        assert await async_client.download("r", tmp_path / "b") == len(content)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() == content


def test_every_try_under_a_key_of_the_clients_own_says_its_number() -> None:
    transport, asked = answers(httpx.ConnectError("gone"), problem(503, "unavailable"), document(status(), 202))
    with Client(transport=transport) as client:
        client.submit("email", {})
    assert [request.headers["Laneway-Try"] for request in asked] == ["1", "2", "3"]
    assert len({request.headers["Idempotency-Key"] for request in asked}) == 1


def test_under_a_key_of_the_callers_no_try_says_its_number() -> None:
    transport, asked = answers(document(status(), 202))
    with Client(transport=transport) as client:
        client.submit("email", {}, idempotency_key="order-7")
    assert "Laneway-Try" not in asked[0].headers


def test_a_schedule_is_asked_for_listed_and_taken_back() -> None:
    made = {
        "name": "nightly",
        "cron": "0 2 * * *",
        "timezone": "Europe/Berlin",
        "task": {"type": "email", "payload": {"to": "a"}},
        "missed": "all",
        "overlap": "skip",
        "paused": False,
        "defined_at": "2026-01-31T00:00:00Z",
        "next": ["2026-02-01T02:00:00+01:00"],
    }
    unknown = problem(404, "schedule-not-found")
    transport, asked = answers(
        document(made, 201), document(made), document({"schedules": [made]}), httpx.Response(204), unknown
    )
    with Client(transport=transport) as client:
        schedule = client.schedule(
            *("nightly", "0 2 * * *", "email", {"to": "a"}),
            timezone="Europe/Berlin",
            missed="all",
            overlap="skip",
            timeout=timedelta(seconds=5),
            labels={"tenant": "acme"},
        )
        assert schedule.next[0] == datetime(2026, 2, 1, 1, tzinfo=UTC)
        assert client.get_schedule("nightly") == schedule
        assert client.schedules() == [schedule]
        client.unschedule("nightly")
        with pytest.raises(ScheduleNotFoundError):
            client.unschedule("nightly")
    assert msgspec.json.decode(asked[0].content) == {
        "name": "nightly",
        "cron": "0 2 * * *",
        "timezone": "Europe/Berlin",
        "missed": "all",
        "overlap": "skip",
        "task": {"type": "email", "payload": {"to": "a"}, "timeout": 5.0, "labels": {"tenant": "acme"}},
    }
    assert [(request.method, request.url.path) for request in asked[1:4]] == [
        ("GET", "/api/schedules/nightly"),
        ("GET", "/api/schedules"),
        ("DELETE", "/api/schedules/nightly"),
    ]
