"""Outcomes are posted, signed, and tried again; what is inside is not asked, not even by a redirect or a name."""

import json
from collections.abc import Callable
from pathlib import Path

import httpx
from standardwebhooks import Webhook

from laneway.callbacks import callback_id
from schemas import codec
from schemas.callback import Callback
from schemas.outcome import Outcome
from schemas.settings import Settings
from schemas.status import State, Status
from schemas.task import CALLBACK_TYPE
from schemas.topics import Topics
from tests.support.api import running_api
from tests.support.due_handlers import DUE, OTHER
from tests.support.kafka import read_all
from tests.support.receivers import SECRETS, Answer, Request, running_receiver, with_callbacks
from tests.support.workers import outcomes, running_worker

MODULE = "tests.support.due_handlers"


async def test_they_do_and_nothing_inside_is_asked(settings: Settings, tmp_path: Path) -> None:
    settings, payload = with_callbacks(settings), {"path": str(tmp_path / "ledger"), "number": 1}
    with (
        running_receiver(lambda path, before: Answer(200), "127.0.0.1") as inside,
        running_receiver(_answers(f"{inside.address}/redirected")) as receiver,
        running_api(settings, tmp_path / "api.log", DUE, OTHER, module=MODULE) as api,
        running_worker(settings, tmp_path / "worker.log", DUE, CALLBACK_TYPE, module=MODULE) as worker,
    ):
        await api.ready()
        await worker.ready()
        async with httpx.AsyncClient(base_url=api.address, timeout=20) as client:

            async def submit(url: str, **fields: object) -> str:
                body = {"type": DUE, "payload": payload, "callback_url": url, **fields}
                answer = await client.post("/api/tasks", json=body)
                assert answer.status_code == httpx.codes.ACCEPTED, answer.text
                return str(answer.json()["id"])

            refused = await client.post(
                "/api/tasks", json={"type": DUE, "payload": payload, "callback_url": f"{inside.address}/direct"}
            )
            assert refused.status_code == httpx.codes.UNPROCESSABLE_ENTITY
            assert refused.json()["violations"][0]["at"] == "/callback_url"

            ids = {
                name: await submit(f"{receiver.address}/{name}") for name in ("ok", "flaky", "hangs", "gone", "busy")
            }
            ids["redirects"] = await submit(f"{receiver.address}/redirects")
            ids["named"] = await submit(f"http://localhost:{inside.port}/named")
            ids["cancelled"] = await submit(f"{receiver.address}/cancelled", delay=3600)
            assert (await client.delete(f"/api/tasks/{ids['cancelled']}")).json()["cancellation"] == "before_start"

            posted = await outcomes(settings, CALLBACK_TYPE, len(ids), within=90)
            by_name = {name: posted[callback_id(task_id, 1)] for name, task_id in ids.items()}
            states = {name: outcome.state for name, outcome in by_name.items()}
            dead = {"gone", "redirects", "named"}
            assert states == {name: State.DEAD_LETTERED if name in dead else State.SUCCEEDED for name in ids}

            # Seen by whoever looks for the task that it is about.
            found = await client.get(
                "/api/tasks", params={"type": CALLBACK_TYPE, "label.task_id": ids["gone"], "state": "dead_lettered"}
            )
            assert [each["id"] for each in found.json()["tasks"]] == [callback_id(ids["gone"], 1)]
            lanes = (await client.get("/api/lanes")).json()["lanes"]
            assert CALLBACK_TYPE in {each["type"] for each in lanes}
            types = (await client.get("/api/types")).json()["types"]
            assert CALLBACK_TYPE not in {each["name"] for each in types}

    assert inside.requests == []
    for name, why in {"redirects": "redirects (302)", "named": "127.0.0.1, an address inside", "gone": "410"}.items():
        error = by_name[name].error
        assert error is not None
        assert (error.type, by_name[name].attempt) == ("Reject", 1)
        assert why in error.message
    asked = {name: len(receiver.asked(f"/{name}")) for name in ids}
    assert asked == {"ok": 1, "flaky": 2, "hangs": 2, "gone": 1, "busy": 2, "redirects": 1, "named": 0, "cancelled": 1}
    assert {name: by_name[name].attempt for name in ("ok", "flaky", "hangs", "busy")} == {
        "ok": 1,
        "flaky": 2,
        "hangs": 2,
        "busy": 1,  # it had asked to come back later
    }
    results = {outcome.id: outcome for outcome in _results(settings)}
    for name in ("ok", "flaky", "hangs", "busy", "cancelled"):
        requests = receiver.asked(f"/{name}")
        assert {_verified(request) for request in requests} == {(f"task.{results[ids[name]].state}", ids[name])}
        assert {request.headers["webhook-id"] for request in requests} == {callback_id(ids[name], 1)}
        assert codec.decode(requests[-1].body, Callback).data == results[ids[name]]
        assert len({request.body for request in requests}) == 1
    assert results[ids["cancelled"]].state is State.CANCELLED
    # Nothing is posted about posting.
    told = read_all(settings.bootstrap_servers, Topics(settings.kafka.topic_prefix).status)
    statuses = [codec.decode(record.value, Status) for record in told]
    assert {status.id for status in statuses if status.type == CALLBACK_TYPE} == set(posted)


def _answers(elsewhere: str) -> Callable[[str, int], Answer]:
    def answer(path: str, before: int) -> Answer:
        first = before == 0
        match path:
            case "/flaky":
                return Answer(500 if first else 200)
            case "/hangs":
                return Answer(200, seconds=30 if first else 0)
            case "/busy":
                return Answer(429, ("Retry-After", "1")) if first else Answer(204)
            case "/gone":
                return Answer(410)
            case "/redirects":
                return Answer(302, ("Location", elsewhere))
        return Answer(200)

    return answer


def _verified(request: Request) -> tuple[str, str]:
    """What an independent reader of Standard Webhooks takes, whichever of the secrets it has."""
    old, new = (json.loads(json.dumps(Webhook(secret).verify(request.body, request.headers))) for secret in SECRETS)
    assert old == new
    return str(new["type"]), str(new["data"]["id"])


def _results(settings: Settings) -> list[Outcome]:
    topic = Topics(settings.kafka.topic_prefix).results(DUE)
    return [codec.decode(record.value, Outcome) for record in read_all(settings.bootstrap_servers, topic)]
