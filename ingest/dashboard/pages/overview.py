"""How everything stands, at a glance."""

import asyncio
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from fastapi import APIRouter, Request, Response

from ingest.control import LaneState
from ingest.dashboard.attention import concerns
from ingest.dashboard.desk import Desk
from ingest.dashboard.history import HistoryWatch
from ingest.dashboard.lanes import LaneLook
from ingest.dashboard.pages import workers
from ingest.openapi.overview import OVERVIEW
from ingest.routes.lanes import describe, flow_of
from ingest.view.lanes import LaneTasks
from ingest.view.listing import Listing
from schemas.codec import decode
from schemas.errors import UnavailableError
from schemas.status import State, Status

_LATEST: Final = 8


def router(desk: Desk) -> APIRouter:
    """``/``, and for programs ``/api/overview``."""
    routes = APIRouter(default_response_class=Response)
    runtime = desk.runtime
    history = HistoryWatch(runtime)

    async def latest(state: State | None = None) -> list[Status]:
        page = await runtime.view.page(Listing(state=state, limit=_LATEST))
        return [decode(document, Status) for document in page.documents]

    async def look() -> dict[str, Any]:
        # Each of the three may have to wait a moment.
        checks, lanes, past = await asyncio.gather(runtime.checks(), desk.lanes.states(), history.latest())
        known = workers.latest(desk)
        found = concerns(checks, lanes or [], known, datetime.now(UTC))
        return {"concerns": found, "lanes": lanes, "workers": known, "past": past}

    async def gather() -> dict[str, Any]:
        found = await look()
        try:
            failed, newest = await latest(State.DEAD_LETTERED), await latest()
        except UnavailableError:
            failed, newest = [], []  # that there is no view is told as a concern
        return {**found, "failed": failed, "newest": newest}

    async def document() -> str:
        found, now = await look(), datetime.now(UTC)
        lanes: list[LaneLook] | None = found["lanes"]
        past = found["past"]
        told = {
            "at": now,
            "attention": [concern._asdict() for concern in found["concerns"]],
            "hour": None if past is None else past.rates(),
            "lanes": None if lanes is None else [_told(look, now) for look in lanes],
            "workers": found["workers"],
        }
        return msgspec.json.encode(told).decode()

    @routes.get("/", include_in_schema=False)
    @desk.page
    async def overview(request: Request) -> Response:
        return await desk.live(request, "overview.html", "overview", "parts/overview.html", gather)

    @routes.get("/api/overview", tags=["overview"], **OVERVIEW)
    async def get_overview(_request: Request) -> Response:
        """How everything stands: what needs attention, in words, the last hour, every lane and every worker."""
        found = await desk.fragments.get("api/overview", document)
        return Response(found.body, media_type="application/json")

    return routes


def _told(look: LaneLook, now: datetime) -> dict[str, Any]:
    tasks = LaneTasks(look.oldest, look.running, look.waits)
    return describe(LaneState(look.lane, look.lag, look.control)) | flow_of(look.rate, tasks, now)
