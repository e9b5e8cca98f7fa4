"""Replays: planned, run, paused, aborted and listed."""

from typing import Final

import msgspec
from fastapi import APIRouter, Request, Response
from starlette.responses import StreamingResponse

from ingest.admission import Moment, moment
from ingest.body import read_body, said_length
from ingest.openapi import replays as openapi
from ingest.parameters import limit_of, wait_of
from ingest.runtime import Runtime
from schemas.replay import Wish

_JSON: Final = "application/json"
_LINES: Final = "application/x-ndjson"
_PLANNED_WITHIN: Final = 10.0


def router(runtime: Runtime) -> APIRouter:
    """The routes under ``/api/replays``."""
    routes = APIRouter(tags=["replays"], default_response_class=Response)
    limit = runtime.settings.api.max_body_bytes
    longest = runtime.settings.api.max_wait

    def held(request: Request, otherwise: float) -> float:
        return wait_of(request.query_params, longest) if "wait" in request.query_params else min(otherwise, longest)

    @routes.post("/api/replays", **openapi.MAKE_REPLAY)
    async def make_replay(request: Request) -> Response:
        """Plan a replay, and run it unless it is a dry run."""
        body = await read_body(request.receive, said_length(request), limit)
        async with runtime.audit.by_api(request, "replay.plan", selection_in(body)) as outcome:
            made = await runtime.replays.make(body, _moment(request), held(request, _PLANNED_WITHIN))
            outcome.said, outcome.count = made.id, made.counts.selected
        return Response(msgspec.json.encode(made), 202, {"location": f"/api/replays/{made.id}"}, media_type=_JSON)

    @routes.get("/api/replays", **openapi.LIST_REPLAYS)
    async def list_replays(_request: Request) -> Response:
        """The latest replays, newest first."""
        return Response(msgspec.json.encode({"replays": await runtime.replays.every()}), media_type=_JSON)

    @routes.get("/api/replays/{id}", **openapi.GET_REPLAY)
    async def get_replay(request: Request) -> Response:
        """A replay: its plan, and how far it is."""
        found = await runtime.replays.find(request.path_params["id"], held(request, 0.0))
        return Response(msgspec.json.encode(found), media_type=_JSON)

    @routes.get("/api/replays/{id}/diff", **openapi.DIFF_REPLAY)
    async def diff_replay(request: Request) -> Response:
        """What a shadow replay found: the tasks that would end otherwise."""
        replay_id: str = request.path_params["id"]
        if _LINES in request.headers.get("accept", ""):
            lines = await runtime.comparisons.lines(replay_id)
            return StreamingResponse(lines, media_type=_LINES, headers={"x-accel-buffering": "no"})
        found = await runtime.comparisons.page(replay_id, limit_of(request.query_params))
        return Response(msgspec.json.encode(found), media_type=_JSON)

    async def ask(request: Request, wish: Wish) -> Response:
        replay_id: str = request.path_params["id"]
        async with runtime.audit.by_api(request, f"replay.{wish}", replay_id) as outcome:
            found = await runtime.replays.ask(replay_id, wish, _moment(request))
            outcome.said, outcome.count = found.state.value, found.counts.selected
        return Response(msgspec.json.encode(found), 202, media_type=_JSON)

    @routes.post("/api/replays/{id}/run", **openapi.ASK_REPLAY)
    async def run_replay(request: Request) -> Response:
        """Run exactly what was planned, or go on with what is paused."""
        return await ask(request, Wish.RUN)

    @routes.post("/api/replays/{id}/pause", **openapi.ASK_REPLAY)
    async def pause_replay(request: Request) -> Response:
        """Hold a replay where it is; what was put back runs."""
        return await ask(request, Wish.PAUSE)

    @routes.delete("/api/replays/{id}", **openapi.ASK_REPLAY)
    async def abort_replay(request: Request) -> Response:
        """End a replay where it is; what was put back runs."""
        return await ask(request, Wish.ABORT)

    return routes


def selection_in(body: bytes) -> str:
    """What a submission selects, for whoever reads what was done; the body is judged elsewhere."""
    try:
        select = msgspec.json.decode(body, type=dict[str, msgspec.Raw]).get("select", msgspec.Raw(b""))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return "unreadable"
    return bytes(select).decode(errors="replace")[:500]


def _moment(request: Request) -> Moment:
    return moment(dict(request.headers.raw).get(b"traceparent"))
