"""What happened to a task, once and as it happens."""

from collections.abc import AsyncIterator

from fastapi import APIRouter, Request, Response
from starlette.responses import StreamingResponse

from ingest import timeline
from ingest.openapi.events import FOLLOW, TIMELINE
from ingest.requests_log import TASK_ID
from ingest.runtime import Runtime
from schemas.errors import TooManyRequestsError


def router(runtime: Runtime) -> APIRouter:
    """``/api/tasks/{id}/timeline`` and ``/events``."""
    routes = APIRouter(tags=["tasks"], default_response_class=Response)
    most = runtime.settings.api.max_streams
    streams: set[object] = set()

    @routes.get("/api/tasks/{id}/timeline", **TIMELINE)
    async def get_timeline(request: Request) -> Response:
        """Every transition with its time, attempt, worker and error."""
        task_id: str = request.path_params["id"]
        request.scope[TASK_ID] = task_id
        found = await runtime.timelines.read(task_id)
        return Response(timeline.document(task_id, found), media_type="application/json")

    @routes.get("/api/tasks/{id}/events", **FOLLOW)
    async def follow_events(request: Request) -> Response:
        """Every transition and progress report until the task is final, as server-sent events."""
        task_id: str = request.path_params["id"]
        request.scope[TASK_ID] = task_id
        if len(streams) >= most:
            raise TooManyRequestsError(f"{most} streams are open already; ask again soon, or poll", limit=most)
        after = request.headers.get("last-event-id") or request.query_params.get("last_event_id")
        mark = object()
        streams.add(mark)
        try:
            following = await runtime.timelines.follow(task_id, after)
        except BaseException:
            streams.discard(mark)
            raise
        if following is None:
            streams.discard(mark)
            return Response(status_code=204)

        async def counted() -> AsyncIterator[bytes]:
            try:
                async for chunk in following:
                    yield chunk
            finally:
                streams.discard(mark)
                await following.aclose()

        return StreamingResponse(
            counted(),
            media_type="text/event-stream",
            # Proxies must neither keep it nor hold it back.
            headers={"cache-control": "no-store", "x-accel-buffering": "no"},
        )

    return routes
