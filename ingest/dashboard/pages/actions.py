"""Who did what."""

from typing import Any, Final

from fastapi import APIRouter, Request, Response

from ingest.dashboard.desk import Desk
from ingest.dashboard.watch import Watch

_MOST: Final = 100
_READ_AGAIN_AFTER: Final = 3.0


def router(desk: Desk) -> APIRouter:
    """``/actions``."""
    routes = APIRouter(include_in_schema=False, default_response_class=Response)
    watch = Watch(lambda: desk.runtime.audit.latest(_MOST), _READ_AGAIN_AFTER)

    async def gather() -> dict[str, Any]:
        return {"actions": await watch.latest(), "trouble": watch.trouble}

    @routes.get("/actions")
    @desk.page
    async def actions(request: Request) -> Response:
        return await desk.live(request, "actions.html", "actions", "parts/actions.html", gather)

    return routes
