"""Dead letters: grouped by error, looked at, and sent back."""

from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from fastapi import APIRouter, Request, Response

from ingest.admission import moment
from ingest.dashboard.desk import Desk
from ingest.dashboard.watch import Watch
from ingest.dashboard.words import iso
from schemas.errors import MalformedRequestError
from schemas.replay import Selection

_NEWEST: Final = 20
_READ_AGAIN_AFTER: Final = 5.0
_PLANNED_WITHIN: Final = 2.0


def router(desk: Desk) -> APIRouter:
    """``/dead-letters``."""
    routes = APIRouter(include_in_schema=False, default_response_class=Response)
    runtime = desk.runtime
    watch = Watch(lambda: runtime.dead_letters.page(Selection(), _NEWEST), _READ_AGAIN_AFTER)

    async def gather() -> dict[str, Any]:
        return {"page": await watch.latest(), "trouble": watch.trouble}

    @routes.get("/dead-letters")
    @desk.page
    async def dead_letters(request: Request) -> Response:
        return await desk.live(request, "dead_letters.html", "dead-letters", "parts/dead_letters.html", gather)

    @routes.get("/dead-letters/redrive")
    @desk.page
    async def ask_redrive(request: Request) -> Response:
        select = _select(request.query_params.get("type"), request.query_params.get("error"), None)
        found = await runtime.dead_letters.page(select, 3)
        waiting = sum(group.open for group in found.groups)
        until = iso(datetime.now(UTC))
        return desk.html(request, "asks/redrive.html", select=select, found=found, waiting=waiting, until=until)

    @routes.post("/dead-letters/redrive")
    @desk.action
    async def redrive(request: Request) -> Response:
        form = await desk.form(request)
        select = _select(form.get("type"), form.get("error"), form.get("until"))
        body = msgspec.json.encode({"select": select, "priority": None})
        said = f"{form.get('type')} {form.get('error') or ''}".strip()
        async with desk.recorded(request, "dead_letters.redrive", said[:200]) as outcome:
            made = await runtime.replays.make(body, moment(), _PLANNED_WITHIN, dead=True)
            outcome.said, outcome.count = f"replay {made.id}", made.counts.selected
        watch.forget()
        return desk.see(f"/replays/{made.id}", "redriven")

    return routes


def _select(type_name: str | None, error: str | None, until: str | None) -> Selection:
    if not type_name:
        raise MalformedRequestError("type is missing: whose dead letters?")
    try:
        before = None if until is None else datetime.fromisoformat(until)
    except ValueError as caught:
        raise MalformedRequestError(f"until {until!r} is no time") from caught
    return Selection(types=[type_name], error=error or None, until=before)
