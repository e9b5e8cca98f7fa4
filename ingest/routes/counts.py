"""How many tasks there are."""

import msgspec
from fastapi import APIRouter, Request, Response

from ingest.openapi.counts import COUNTS
from ingest.runtime import Runtime


def router(runtime: Runtime) -> APIRouter:
    """``/api/tasks/counts``."""
    routes = APIRouter(tags=["tasks"], default_response_class=Response)

    @routes.get("/api/tasks/counts", **COUNTS)
    async def get_counts(_request: Request) -> Response:
        """How many tasks there are by type, priority and state; combinations without any are left out."""
        found = [
            {"type": lane.type, "priority": lane.priority, "state": state, "count": number}
            for (lane, state), number in (await runtime.view.counts()).items()
        ]
        return Response(msgspec.json.encode({"counts": found}), media_type="application/json")

    return routes
