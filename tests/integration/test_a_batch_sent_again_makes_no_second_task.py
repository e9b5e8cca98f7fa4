"""A batch whose answer was lost is sent again: each of its tasks is there once, on another instance, too."""

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from laneway import Client
from laneway.cli import main
from laneway.client import Accepted
from schemas.errors import InvalidTaskError
from schemas.settings import Settings
from schemas.task import Lane, Priority
from schemas.topics import Topics
from tests.support.api import RunningApi, running_api
from tests.support.kafka import read_all

LANE = Lane("chat", Priority.NORMAL)


class Losing(httpx.BaseTransport):
    """Asks one instance and loses its answer, then asks another."""

    def __init__(self, *apis: RunningApi) -> None:
        self._apis = list(apis)
        self._inner = httpx.HTTPTransport()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        body = request.read()
        address = httpx.URL(self._apis[0].address)
        asked = httpx.Request(
            request.method, address.join(request.url.path), headers=_without_host(request.headers), content=body
        )
        answer = self._inner.handle_request(asked)
        answer.read()
        if len(self._apis) > 1:
            del self._apis[0]
            raise httpx.ReadError("the answer is lost")
        return answer

    def close(self) -> None:
        self._inner.close()


def _without_host(headers: httpx.Headers) -> list[tuple[str, str]]:
    return [(name, value) for name, value in headers.items() if name != "host"]


def _task(number: int) -> dict[str, Any]:
    return {"type": "chat", "payload": {"message": f"{number}"}}


async def test_it_makes_none(settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = settings.model_copy(update={"data_dir": tmp_path / "other"})
    with running_api(settings, tmp_path / "one.log") as one, running_api(other, tmp_path / "two.log") as two:
        await one.ready()
        await two.ready()
        tasks = [_task(number) for number in range(300)]
        tasks[7] = {"type": "chat", "payload": {"massage": "wrong"}}
        with Client(transport=Losing(one, two)) as client:
            answers = client.submit_batch(tasks)  # type: ignore[arg-type]  # a dict of JSON is one
        ids = [answer.id for answer in answers if isinstance(answer, Accepted)]
        assert len(set(ids)) == 299
        assert isinstance(answers[7], InvalidTaskError)

        file = tmp_path / "tasks.ndjson"
        file.write_text("\n".join(json.dumps(each) for each in ({"type": "chat"}, _task(0))) + "\n\nno JSON\n")
        command = ["submit-batch", str(file), "--api", two.address]
        assert await asyncio.to_thread(main, command) == 1
        told = capsys.readouterr()
        assert told.out == "1 accepted, 2 refused\n"
        assert [line.partition(":")[2].split(":")[0] for line in told.err.splitlines()] == [" line 1", " line 4"]

        async with httpx.AsyncClient(base_url=one.address, timeout=30) as asking:

            async def post(tries: str | None, *bodies: dict[str, Any]) -> tuple[int, list[dict[str, Any]]]:
                headers = {"Idempotency-Key": "mine"} | ({} if tries is None else {"Laneway-Try": tries})
                answer = await asking.post("/api/tasks/batch", json=bodies, headers=headers)
                return answer.status_code, answer.json()["tasks"]

            first = await post(None, _task(0), _task(1))
            assert first[0] == httpx.codes.ACCEPTED
            # Whatever its sender promises: it is there.
            assert await post("1", _task(0), _task(1)) == first
            assert await post("2", _task(0), _task(1)) == first
            code, (same, differs, more) = await post(None, _task(0), _task(2), _task(3))
            assert (code, same) == (httpx.codes.MULTI_STATUS, first[1][0])
            assert differs["error"]["type"] == "/problems/idempotency-conflict"
            assert more["id"] not in {each["id"] for each in first[1]}

    lane = Topics(settings.kafka.topic_prefix).lane(LANE)
    runs = [record for record in read_all(settings.bootstrap_servers, lane) if record.key is not None]
    appended = [msgspec.json.decode(record.value or b"")["id"] for record in runs]
    # What may ask for the same run a second time says so, and starts nothing that has begun.
    asking_first = [task for task, record in zip(appended, runs, strict=True) if not record.header("laneway-repeated")]
    assert len(asking_first) == len(set(asking_first))
    assert set(appended) > {*ids, *(each["id"] for each in first[1]), more["id"]}
    assert len(set(appended)) == 299 + 2 + 1 + 1
