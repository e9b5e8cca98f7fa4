"""Many tasks: in requests that the API takes, an answer for each in their order, sent again under the same key."""

from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from typing import Any

import httpx
import msgspec
import pytest
from pydantic import BaseModel

from laneway.client import Accepted, AsyncClient, BatchAnswer, Client, NewTask, batches
from schemas.errors import BodyTooLargeError, InvalidTaskError, TypeNotFoundError, UnavailableError
from schemas.status import State


class Row(BaseModel):
    n: int


class Api:
    """Answers each task with its own ``n`` as id, unless something is planned for it."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []
        self.lost: list[Exception | None] = []
        self.away: dict[str, int] = {}
        """How often the log takes a task not yet."""
        self.most_bytes = 10_000_000

    def __call__(self, request: httpx.Request) -> httpx.Response:
        body = request.read()
        self.requests.append(request)
        if self.lost and (error := self.lost.pop(0)) is not None:
            raise error
        if len(body) > self.most_bytes:
            return self._problem(413, "body-too-large")
        told = [self._told(msgspec.json.decode(line)) for line in body.split(b"\n")]
        return httpx.Response(207 if any("error" in each for each in told) else 202, json={"tasks": told})

    def _told(self, task: dict[str, Any]) -> dict[str, Any]:
        number = str(task["payload"]["n"])
        if task["type"] == "unknown":
            return {"error": self._problem(404, "unknown-type").json()}
        if self.away.get(number, 0) > 0:
            self.away[number] -= 1
            return {"error": self._problem(503, "unavailable").json()}
        return {"id": number, "state": "queued"}

    @staticmethod
    def _problem(status: int, slug: str) -> httpx.Response:
        document = {"type": f"/problems/{slug}", "title": "no", "status": status, "detail": "why"}
        return httpx.Response(status, json=document)


def new_tasks(count: int) -> Iterator[NewTask]:
    for number in range(count):
        yield {"type": "row", "payload": {"n": number}}


def told(answers: list[BatchAnswer]) -> list[str | type[Exception]]:
    return [answer.id if isinstance(answer, Accepted) else type(answer) for answer in answers]


@pytest.fixture
def api() -> Api:
    return Api()


def client(api: Api) -> Client:
    return Client(transport=httpx.MockTransport(api), retry_for=timedelta(seconds=5))


def test_any_number_goes_in_bounded_requests_and_in_order(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "MOST_TASKS", 4)
    assert told(client(api).submit_batch(new_tasks(10))) == [str(number) for number in range(10)]
    assert [request.content.count(b"\n") + 1 for request in api.requests] == [4, 4, 2]
    assert len({request.headers["idempotency-key"] for request in api.requests}) == 3
    assert {request.headers["laneway-try"] for request in api.requests} == {"1"}
    assert client(api).submit_batch([]) == []
    assert len(api.requests) == 3


def test_bytes_are_bounded_too(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "_MOST_BYTES", 100)
    assert len(client(api).submit_batch(new_tasks(20))) == 20
    assert len(api.requests) > 5
    assert max(len(request.content) for request in api.requests) <= 100


def test_tasks_are_taken_as_answers_are_asked_for(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "MOST_TASKS", 2)
    taken: list[int] = []

    def source() -> Iterator[NewTask]:
        for number in range(1_000):
            taken.append(number)
            yield {"type": "row", "payload": {"n": number}}

    answers = client(api).submit_each(source())
    assert [next(answers), next(answers)] == [Accepted("0", State.QUEUED), Accepted("1", State.QUEUED)]
    assert len(taken) == 3


def test_each_refusal_stands_in_its_place(api: Api) -> None:
    answers = client(api).submit_batch(
        [
            {"type": "row", "payload": Row(n=0), "delay": timedelta(seconds=2)},
            {"type": "unknown", "payload": {"n": 1}},
            {"type": "row", "payload": object()},
            {"type": "row", "payload": {"n": 3}, "idempotency_key": "mine"},
            b'{"type":\n"row"}',
            b'{"type": "row", "payload": {"n": 5}}',
        ]
    )
    assert told(answers) == ["0", TypeNotFoundError, InvalidTaskError, InvalidTaskError, InvalidTaskError, "5"]
    assert msgspec.json.decode(api.requests[0].content.split(b"\n")[0])["delay"] == 2.0


def test_what_is_lost_or_not_taken_is_sent_again_under_the_same_key(api: Api) -> None:
    api.lost = [httpx.ReadError("gone")]
    api.away = {"1": 2}
    assert told(client(api).submit_batch(new_tasks(3))) == ["0", "1", "2"]
    assert len({(request.headers["idempotency-key"], request.content) for request in api.requests}) == 1
    assert [request.headers["laneway-try"] for request in api.requests] == ["1", "2", "3", "4"]


def test_an_api_that_takes_less_is_given_less(api: Api) -> None:
    api.most_bytes = 100
    tasks = [*new_tasks(9), NewTask(type="row", payload={"n": 9, "text": "x" * 200})]
    assert told(client(api).submit_batch(tasks)) == [*(str(number) for number in range(9)), BodyTooLargeError]


def test_an_api_that_is_away_is_the_answer(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "MOST_TASKS", 2)
    api.lost = [None, httpx.ConnectError("refused"), None]
    impatient = Client(transport=httpx.MockTransport(api), retry_for=timedelta(0))
    found = told(impatient.submit_batch(new_tasks(5)))
    assert found == ["0", "1", UnavailableError, UnavailableError, "4"]


async def test_the_asynchronous_one_takes_any_iterable(api: Api) -> None:
    async def source() -> AsyncIterator[NewTask]:
        for task in new_tasks(3):
            yield task

    async with AsyncClient(transport=httpx.MockTransport(api)) as asynchronous:
        assert told(await asynchronous.submit_batch(source())) == ["0", "1", "2"]
        assert told([answer async for answer in asynchronous.submit_each(new_tasks(2))]) == ["0", "1"]
