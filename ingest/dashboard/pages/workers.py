"""Workers: which there are, and what each runs."""

from typing import Any

from fastapi import APIRouter, Request, Response

from ingest.dashboard.desk import Desk
from schemas.errors import UnavailableError
from schemas.worker import WorkerView


def router(desk: Desk) -> APIRouter:
    """``/workers``."""
    routes = APIRouter(include_in_schema=False, default_response_class=Response)

    async def gather() -> dict[str, Any]:
        return {"workers": latest(desk)}

    @routes.get("/workers")
    @desk.page
    async def workers(request: Request) -> Response:
        return await desk.live(request, "workers.html", "workers", "parts/workers.html", gather)

    return routes


def latest(desk: Desk) -> list[WorkerView] | None:
    """Every worker, those that need somebody first; ``None`` until their reports are read."""
    try:
        return sorted(desk.runtime.workers.every(), key=lambda each: (each.alive and not each.stuck, each.worker))
    except UnavailableError:
        return None
