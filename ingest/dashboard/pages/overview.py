"""How everything stands, at a glance."""

import asyncio
from datetime import UTC, datetime
from typing import Any, Final

from fastapi import APIRouter, Request, Response

from ingest.dashboard.attention import Concern, concerns
from ingest.dashboard.desk import Desk
from ingest.dashboard.history import HistoryWatch
from ingest.view.listing import Listing
from schemas.codec import decode
from schemas.errors import UnavailableError
from schemas.status import State, Status

_LATEST: Final = 8


def router(desk: Desk) -> APIRouter:
    """``/``."""
    routes = APIRouter(include_in_schema=False, default_response_class=Response)
    runtime = desk.runtime
    history = HistoryWatch(runtime)

    async def latest(state: State | None = None) -> list[Status]:
        page = await runtime.view.page(Listing(state=state, limit=_LATEST))
        return [decode(document, Status) for document in page.documents]

    async def gather() -> dict[str, Any]:
        # Each of the two may have to wait a moment.
        checks, states, past = await asyncio.gather(runtime.checks(), desk.lanes.states(), history.latest())
        try:
            failed, newest = await latest(State.DEAD_LETTERED), await latest()
        except UnavailableError:
            failed, newest = [], []  # that there is no view is told as a concern
        found: list[Concern] = concerns(checks, states or [], datetime.now(UTC))
        return {"concerns": found, "lanes": states, "failed": failed, "newest": newest, "past": past}

    @routes.get("/")
    @desk.page
    async def overview(request: Request) -> Response:
        return await desk.live(request, "overview.html", "overview", "parts/overview.html", gather)

    return routes
