"""Whether the process lives, and whether it is ready."""

import msgspec
from fastapi import APIRouter, Request, Response

from ingest import openapi, problems
from ingest.runtime import Runtime


def router(runtime: Runtime) -> APIRouter:
    """``/healthz`` and ``/readyz``."""
    routes = APIRouter(tags=["health"], default_response_class=Response)

    @routes.get("/healthz", **openapi.HEALTH)
    async def health(_request: Request) -> Response:
        """The process answers."""
        return Response(b'{"status":"alive"}', media_type="application/json")

    @routes.get("/readyz", **openapi.READY)
    async def ready(_request: Request) -> Response:
        """200 once the broker answers and the status view has caught up with where the log ended at the start."""
        checks = await runtime.checks()
        ok = not any(checks.values())
        body = {
            "ready": ok,
            "checks": {name: {"ok": why is None} | ({"why": why} if why else {}) for name, why in checks.items()},
        }
        headers = {} if ok else {"retry-after": str(problems.RETRY_AFTER_SECONDS)}
        return Response(msgspec.json.encode(body), 200 if ok else 503, headers, "application/json")

    return routes
