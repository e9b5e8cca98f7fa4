"""Dead letters: listed, shown, sent back."""

from typing import Final

import msgspec
from fastapi import APIRouter, Request, Response

from ingest.admission import moment
from ingest.body import read_body, said_length
from ingest.openapi import replays as openapi
from ingest.parameters import dead_letters_of, limit_of, wait_of
from ingest.routes.replays import selection_in
from ingest.runtime import Runtime

_JSON: Final = "application/json"
_PLANNED_WITHIN: Final = 10.0


def router(runtime: Runtime) -> APIRouter:
    """The routes under ``/api/dlq``."""
    routes = APIRouter(tags=["dead letters"], default_response_class=Response)
    largest, longest = runtime.settings.api.max_body_bytes, runtime.settings.api.max_wait

    @routes.get("/api/dlq", **openapi.LIST_DEAD_LETTERS)
    async def list_dead_letters(request: Request) -> Response:
        """The newest dead letters, and how many there are of each error."""
        query = request.query_params
        page = await runtime.dead_letters.page(dead_letters_of(query), limit_of(query))
        return Response(msgspec.json.encode(page), media_type=_JSON)

    @routes.get("/api/dlq/{position}", **openapi.SHOW_DEAD_LETTER)
    async def show_dead_letter(request: Request) -> Response:
        """A dead letter with its payload, its headers and every error."""
        found = await runtime.dead_letters.show(request.path_params["position"])
        return Response(msgspec.json.encode(found), media_type=_JSON)

    @routes.post("/api/dlq/redrive", **openapi.REDRIVE)
    async def redrive(request: Request) -> Response:
        """Send dead letters back into their lanes: a replay of them."""
        body = await read_body(request.receive, said_length(request), largest)
        query = request.query_params
        wait = wait_of(query, longest) if "wait" in query else min(_PLANNED_WITHIN, longest)
        asked = moment(dict(request.headers.raw).get(b"traceparent"))
        async with runtime.audit.by_api(request, "dead_letters.redrive", selection_in(body)) as outcome:
            made = await runtime.replays.make(body, asked, wait, dead=True)
            outcome.said, outcome.count = f"replay {made.id}", made.counts.selected
        return Response(msgspec.json.encode(made), 202, {"location": f"/api/replays/{made.id}"}, media_type=_JSON)

    return routes
