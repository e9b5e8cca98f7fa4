"""What happens to a task is told as it happens, once each, through a restart of the API, and afterwards as a whole."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import httpx
import msgspec

from laneway import AsyncClient
from schemas.outcome import Event
from schemas.settings import Settings
from schemas.status import State
from tests.support.api import RunningApi, free_port, running_api
from tests.support.watched_handlers import FLAKY, STEPS
from tests.support.workers import running_worker

TYPES = (FLAKY, STEPS)
MODULE = "tests.support.watched_handlers"


@asynccontextmanager
async def running(settings: Settings, folder: Path) -> AsyncIterator[tuple[RunningApi, AsyncClient]]:
    with (
        running_api(settings, folder / "api.log", *TYPES, module=MODULE) as api,
        running_worker(settings, folder / "worker.log", *TYPES, module=MODULE) as worker,
    ):
        await api.ready()
        await worker.ready()
        async with AsyncClient(api.address, retry_for=timedelta(seconds=60)) as client:
            yield api, client


def open_gate(gate: Path, percent: int) -> None:
    gate.with_name(f"{gate.name}-{percent}").touch()


def percent_of(event: Event) -> float:
    return event.progress.percent if event.progress is not None else -1


def told(events: list[Event]) -> list[tuple[str, int]]:
    # That it runs is told of a task that takes longer, which on a busy machine any may.
    return [(str(event.state), event.attempt) for event in events if event.state is not State.RUNNING]


async def test_each_transition_once_live_and_afterwards(settings: Settings, tmp_path: Path) -> None:
    async with running(settings, tmp_path) as (api, client):
        submitted = await client.submit(FLAKY, {"ok_at": 3})
        live = [event async for event in client.stream(submitted.id)]
        assert told(live) == [("queued", 0), ("retrying", 1), ("retrying", 2), ("succeeded", 3)]
        assert [event.error.type for event in live if event.error] == ["ValueError", "ValueError"]
        timeline = await client.timeline(submitted.id)
        assert timeline.complete
        assert timeline.events == live
        # Who comes late is told the same, and who has it all that nothing follows.
        assert [event async for event in client.stream(submitted.id)] == live
        async with httpx.AsyncClient(base_url=api.address) as plain:
            path = f"/api/tasks/{submitted.id}/events"
            whole = (await plain.get(path)).text
            ids = [line.removeprefix("id: ") for line in whole.splitlines() if line.startswith("id: ")]
            assert len(ids) == len(live)
            rest = (await plain.get(path, headers={"Last-Event-ID": ids[1]})).text
            assert [line.removeprefix("id: ") for line in rest.splitlines() if line.startswith("id: ")] == ids[2:]
            assert (await plain.get(path, params={"last_event_id": ids[-1]})).status_code == httpx.codes.NO_CONTENT
            for nonsense in ("x", "0", "0-", "-1", f"0-{'9' * 30}", "99-1"):
                answer = await plain.get(path, headers={"Last-Event-ID": nonsense})
                assert answer.status_code == httpx.codes.BAD_REQUEST, nonsense
            for unknown in ("/api/tasks/nobody/events", "/api/tasks/nobody/timeline"):
                assert (await plain.get(unknown)).status_code == httpx.codes.NOT_FOUND
            end = msgspec.json.decode(whole.split("event: end\ndata: ")[1].split("\n")[0])
            assert (end["state"], end["result"]) == ("succeeded", 3)


async def test_a_stream_goes_on_where_it_was_when_the_api_comes_back(settings: Settings, tmp_path: Path) -> None:
    settings = settings.model_copy(update={"api": settings.api.model_copy(update={"port": free_port()})})
    gate = tmp_path / "gate"
    async with running(settings, tmp_path) as (api, client):
        submitted = await client.submit(STEPS, {"percents": [10, 50, 90], "gate": str(gate)})
        following = client.stream(submitted.id)
        seen = [await anext(following)]
        while percent_of(seen[-1]) < 10:
            seen.append(await anext(following))
        api.kill()
        open_gate(gate, 10)
        with running_api(settings, tmp_path / "again.log", *TYPES, module=MODULE) as again:
            await again.ready()
            while percent_of(seen[-1]) < 50:
                seen.append(await anext(following))
            # In order, this time: the stream is ended by the API.
            assert again.stop() == 0
            open_gate(gate, 50)
        with running_api(settings, tmp_path / "once_more.log", *TYPES, module=MODULE) as last:
            await last.ready()
            while percent_of(seen[-1]) < 90:
                seen.append(await anext(following))
            open_gate(gate, 90)
            seen += [event async for event in following]
            timeline = await client.timeline(submitted.id)
    assert seen == timeline.events
    assert [event.progress.percent for event in seen if event.progress and not event.state.final] == [10, 50, 90]
    assert seen[-1].state == "succeeded"
