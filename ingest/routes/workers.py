"""The workers: which there are, and what each runs."""

import msgspec
from fastapi import APIRouter, Request, Response

from ingest.openapi.workers import WORKERS
from ingest.runtime import Runtime


def router(runtime: Runtime) -> APIRouter:
    """``/api/workers``."""
    routes = APIRouter(tags=["workers"], default_response_class=Response)

    @routes.get("/api/workers", **WORKERS)
    async def get_workers(_request: Request) -> Response:
        """Every worker process: its lanes, its slots, and what runs there since when."""
        return Response(msgspec.json.encode({"workers": runtime.workers.every()}), media_type="application/json")

    return routes
