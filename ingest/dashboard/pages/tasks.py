"""Tasks: searched, filtered, and called off by the many."""

import time
from datetime import UTC, datetime
from typing import Any, Final

from fastapi import APIRouter, Request, Response

from ingest.dashboard.bulk import FAILED, OUTCOMES, STEP, cancel_step, count
from ingest.dashboard.desk import Desk
from ingest.dashboard.filters import PAGE, SPANS, Filter, filter_of
from ingest.dashboard.words import address, iso, number
from ingest.view.listing import Listing
from ingest.view.reader import ViewReader
from schemas.codec import decode
from schemas.control import Cancelled
from schemas.errors import MalformedRequestError
from schemas.status import Status

_MOMENT: Final = 0.15
"""Seconds that a search goes on for while its page is not full."""


def router(desk: Desk) -> APIRouter:
    """``/tasks``."""
    routes = APIRouter(include_in_schema=False, default_response_class=Response)
    runtime = desk.runtime

    @routes.get("/tasks")
    @desk.page
    async def tasks(request: Request) -> Response:
        chosen = filter_of(request.query_params)

        async def gather() -> dict[str, Any]:
            documents, cursor = await _look(runtime.view, chosen)
            found = [decode(document, Status) for document in documents]
            following = None if cursor is None else address("/tasks", [*chosen.pairs(), ("cursor", cursor)])
            return {"tasks": found, "filter": chosen, "following": following, "page_size": PAGE}

        key = address("tasks", [*chosen.pairs(), ("cursor", chosen.cursor)])
        return await desk.live(
            request,
            "tasks.html",
            key,
            "parts/tasks.html",
            gather,
            filter=chosen,
            spans=SPANS,
            types=runtime.registry.names,
        )

    @routes.get("/tasks/cancel")
    @desk.page
    async def ask_cancel(request: Request) -> Response:
        # Only what is there now: what comes in while somebody thinks about it was not asked about.
        now = datetime.now(UTC)
        chosen = _until(filter_of(request.query_params), now)
        counted = await count(runtime.view, chosen)
        waiting = {state: count for state, count in counted.states.items() if not state.final}
        return desk.html(request, "asks/cancel_many.html", filter=chosen, counted=counted, waiting=waiting)

    @routes.post("/tasks/cancel")
    @desk.action
    async def cancel(request: Request) -> Response:
        form = await desk.form(request)
        chosen = filter_of(form)
        if chosen.until is None:
            raise MalformedRequestError("until is missing: up to which task was asked about?")
        action, words = "tasks.cancel", chosen.words()
        async with desk.recorded(request, action, words[:1000]) as outcome:
            step = await cancel_step(runtime, chosen)
            outcome.count = sum(step.outcomes.values())
            outcome.said = ", ".join(f"{number(count)} {name}" for name, count in step.outcomes.items()) or "none"
        so_far = {name: int(form.get(f"so_far.{name}") or 0) + step.outcomes.get(name, 0) for name in OUTCOMES}
        done = sum(number_ for name, number_ in so_far.items() if name not in (Cancelled.TOO_LATE, FAILED))
        if step.cursor is None and request.headers.get("hx-request") is None:
            return desk.see(chosen.at(None).href(), "cancelled-many", done)
        return desk.html(
            request, "asks/cancel_step.html", filter=chosen.at(step.cursor), so_far=so_far, done=done, step=STEP
        )

    return routes


async def _look(view: ViewReader, chosen: Filter) -> tuple[list[bytes], str | None]:
    """A page's documents and the cursor of the next: a full page, or what is found within a moment."""
    until = time.monotonic() + _MOMENT
    found: list[bytes] = []
    while True:
        page = await view.page(chosen.listing(datetime.now(UTC), limit=PAGE - len(found)))
        found += page.documents
        if page.cursor is None or len(found) >= PAGE or time.monotonic() > until:
            return found, page.cursor
        chosen = chosen.at(page.cursor)


def _until(chosen: Filter, now: datetime) -> Filter:
    until = chosen.listing(now).until
    return Filter(
        type=chosen.type,
        state=chosen.state,
        priority=chosen.priority,
        labels=chosen.labels,
        since=_fixed(chosen.listing(now)),
        until=iso(min(until, now) if until is not None else now),
        q=chosen.q,
    )


def _fixed(listing: Listing) -> str | None:
    return None if listing.since is None else iso(listing.since)
