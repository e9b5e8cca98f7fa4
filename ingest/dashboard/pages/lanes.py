"""Lanes: how they stand, holding and freeing them."""

from typing import Any

from fastapi import APIRouter, Request, Response

from ingest.dashboard.desk import Desk
from schemas.control import OPERATOR
from schemas.errors import PageNotFoundError
from schemas.task import Lane, Priority

_MOST_REASON = 500


def router(desk: Desk) -> APIRouter:
    """``/lanes``."""
    routes = APIRouter(include_in_schema=False, default_response_class=Response)
    runtime = desk.runtime

    async def gather() -> dict[str, Any]:
        return {"lanes": await desk.lanes.states()}

    @routes.get("/lanes")
    @desk.page
    async def lanes(request: Request) -> Response:
        return await desk.live(request, "lanes.html", "lanes", "parts/lanes.html", gather)

    @routes.get("/lanes/{type}/{priority}/pause")
    @desk.page
    async def ask_pause(request: Request) -> Response:
        lane = _lane(request)
        states = await desk.lanes.states() or []
        waiting = next((state.lag for state in states if state.lane == lane), None)
        return desk.html(request, "asks/pause.html", lane=lane, waiting=waiting)

    @routes.post("/lanes/{type}/{priority}/pause")
    @desk.action
    async def pause(request: Request) -> Response:
        lane = _lane(request)
        reason = (await desk.form(request)).get("reason", "").strip()[:_MOST_REASON] or None
        async with desk.recorded(request, "lane.pause", str(lane), reason=reason or "") as outcome:
            await runtime.control.hold(lane, paused=True, reason=reason, by=_by(request))
            outcome.said = "paused"
        return desk.see("/lanes", "paused")

    @routes.post("/lanes/{type}/{priority}/resume")
    @desk.action
    async def resume(request: Request) -> Response:
        lane = _lane(request)
        async with desk.recorded(request, "lane.resume", str(lane)) as outcome:
            await runtime.control.hold(lane, paused=False, reason=None, by=_by(request))
            outcome.said = "resumed"
        return desk.see("/lanes", "resumed")

    def _by(request: Request) -> str:
        return f"{OPERATOR}: {desk.who(request)}"

    def _lane(request: Request) -> Lane:
        task_type = runtime.admission.type_of(request.path_params["type"])
        try:
            return Lane(task_type.name, Priority(request.path_params["priority"]))
        except ValueError:
            raise PageNotFoundError(f"there is no priority {request.path_params['priority'][:40]!r}") from None

    return routes
