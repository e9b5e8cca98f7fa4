"""From the request through two retries to the result and the callback: one trace, seen at a real OTLP receiver."""

import os
from datetime import timedelta
from pathlib import Path
from typing import Final

import httpx
import pytest

from laneway import tracing
from schemas.settings import Settings
from schemas.task import CALLBACK_TYPE
from tests.support.api import running_api
from tests.support.collector import Seen, running_collector
from tests.support.receivers import Answer, running_receiver, with_callbacks
from tests.support.traced_handlers import APART, MODULE, SECRET, TRACED
from tests.support.waiting import eventually
from tests.support.workers import running_worker

TRACE: Final = "0af7651916cd43dd8448eb211c80319c"
CALLER: Final = "b7ad6b7169203331"
KEY: Final = "laneway.task.attempt"


async def test_it_is(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = with_callbacks(settings)
    with running_collector() as collector, running_receiver(lambda *_: Answer(200)) as receiver:
        monkeypatch.setenv(tracing.ENDPOINT, collector.address)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "200")
        with (
            running_api(settings, tmp_path / "api.log", TRACED, APART, module=MODULE) as api,
            running_worker(settings, tmp_path / "worker.log", TRACED, APART, CALLBACK_TYPE, module=MODULE) as worker,
        ):
            await api.ready()
            await worker.ready()
            async with httpx.AsyncClient(base_url=api.address, timeout=30) as client:
                body = {"type": TRACED, "payload": {"fails": 2, "password": SECRET}}
                answer = await client.post(
                    "/api/tasks",
                    json=body | {"callback_url": f"{receiver.address}/told"},
                    headers={"traceparent": f"00-{TRACE}-{CALLER}-01"},
                )
                task_id = answer.json()["id"]
                process = (await client.post("/api/tasks", json={"type": APART, "payload": {}})).json()["id"]
                for each in (task_id, process):
                    final = await client.get(f"/api/tasks/{each}", params={"wait": timedelta(seconds=25).seconds})
                    assert final.json()["state"] == "succeeded"

            def whole() -> list[Seen]:
                spans = collector.of(TRACE)
                assert {"process laneway.callback", "in a process"} <= {span.name for span in collector.spans}
                assert sum(span.name.startswith("send ") for span in spans) >= 5
                return spans

            spans = await eventually(whole, within=30)
            (request,) = [span for span in spans if span.service == "laneway-api" and span.kind == 2]
            assert (request.name, request.parent_id) == ("POST /api/tasks", CALLER)
            assert request.attributes["http.response.status_code"] == 202
            attempts = sorted(
                (s for s in spans if s.name == f"process {TRACED}"), key=lambda s: int(str(s.attributes[KEY]))
            )
            assert [(span.attributes[KEY], span.failed, "retry" in span.events) for span in attempts] == [
                (1, True, True),
                (2, True, True),
                (3, False, False),
            ]
            assert [span.attributes["laneway.task.state"] for span in attempts] == ["retrying", "retrying", "succeeded"]
            assert {span.parent_id for span in attempts} == {request.span_id}
            assert {span.attributes["laneway.task.id"] for span in attempts} == {task_id}
            by_id = {span.span_id: span for span in spans}
            own = [span for span in spans if span.name == "the user's own"]
            assert sorted(by_id[span.parent_id].attributes[KEY] for span in own) == [1, 2, 3]  # type: ignore[type-var]
            prefix = f"send {settings.kafka.topic_prefix}"
            (accepted,) = [
                span
                for span in spans
                if span.name == f"{prefix}tasks.{TRACED}.normal" and span.kind == 4 and span.service == "laneway-api"
            ]
            assert accepted.parent_id == request.span_id
            (result,) = [span for span in spans if span.parent_id == attempts[-1].span_id and span.kind == 4]
            assert result.attributes["messaging.batch.message_count"] == 6
            (callback,) = [span for span in spans if span.name == f"process {CALLBACK_TYPE}"]
            assert callback.parent_id == request.span_id
            (told,) = receiver.requests
            assert told.headers["traceparent"] == f"00-{TRACE}-{callback.span_id}-01"
            # A handler in a process of its own: its spans are children of the attempt all the same.
            (inside,) = [span for span in collector.spans if span.name == "in a process"]
            parents = {span.span_id: span.name for span in collector.of(inside.trace_id)}
            assert parents[inside.parent_id] == f"process {APART}"
            assert SECRET not in str(collector.spans)
            assert f"trace_id={TRACE}" in (tmp_path / "api.log").read_text()
            assert f"trace_id={TRACE}" in (tmp_path / "worker.log").read_text()
    assert os.environ.get(tracing.ENDPOINT)


@pytest.mark.long
async def test_a_collector_that_is_away_harms_nothing(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(tracing.ENDPOINT, "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
    with (
        running_api(settings, tmp_path / "api.log", TRACED, APART, module=MODULE) as api,
        running_worker(settings, tmp_path / "worker.log", TRACED, module=MODULE) as worker,
    ):
        await api.ready()
        await worker.ready()
        async with httpx.AsyncClient(base_url=api.address, timeout=30) as client:
            for _ in range(5):
                answer = await client.post("/api/tasks", json={"type": TRACED, "payload": {"fails": 0}})
                final = await client.get(f"/api/tasks/{answer.json()['id']}", params={"wait": 20})
                assert final.json()["state"] == "succeeded"
        assert (worker.stop(), api.stop()) == (0, 0)
    told = (tmp_path / "worker.log").read_text()
    assert told.count("Failed to export") <= 1
    assert "Traceback" not in told
