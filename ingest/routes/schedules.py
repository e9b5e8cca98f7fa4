"""Schedules: made, listed and deleted."""

from datetime import UTC, datetime
from typing import Final

import msgspec
from fastapi import APIRouter, Request, Response

from ingest import openapi
from ingest.admission import Moment, moment
from ingest.body import read_body, said_length
from ingest.runtime import Runtime

_JSON: Final = "application/json"


def router(runtime: Runtime) -> APIRouter:
    """The routes under ``/api/schedules``."""
    routes = APIRouter(tags=["schedules"], default_response_class=Response)
    limit = runtime.settings.api.max_body_bytes

    @routes.post("/api/schedules", **openapi.PUT_SCHEDULE)
    async def put_schedule(request: Request) -> Response:
        """Make a schedule, or replace the one of its name."""
        body = await read_body(request.receive, said_length(request), limit)
        async with runtime.audit.by_api(request, "schedule.put", name_in(body)) as outcome:
            schedule, created = await runtime.schedules.put(body, _moment(request))
            outcome.said = "made" if created else "replaced"
        headers = {"location": f"/api/schedules/{schedule.name}"}
        return Response(msgspec.json.encode(schedule), 201 if created else 200, headers, media_type=_JSON)

    @routes.get("/api/schedules", **openapi.LIST_SCHEDULES)
    async def list_schedules(_request: Request) -> Response:
        """Every schedule, by name."""
        found = await runtime.schedules.every(datetime.now(UTC))
        return Response(msgspec.json.encode({"schedules": found}), media_type=_JSON)

    @routes.get("/api/schedules/{name}", **openapi.GET_SCHEDULE)
    async def get_schedule(request: Request) -> Response:
        """A schedule: its next times, and what became of the last."""
        found = await runtime.schedules.find(request.path_params["name"], datetime.now(UTC))
        return Response(msgspec.json.encode(found), media_type=_JSON)

    @routes.delete("/api/schedules/{name}", **openapi.DELETE_SCHEDULE)
    async def delete_schedule(request: Request) -> Response:
        """Have a schedule fire no more; the tasks that it made go on."""
        name: str = request.path_params["name"]
        async with runtime.audit.by_api(request, "schedule.delete", name) as outcome:
            await runtime.schedules.delete(name, _moment(request))
            outcome.said = "deleted"
        return Response(status_code=204)

    return routes


class _Named(msgspec.Struct):
    name: str = ""


def name_in(body: bytes) -> str:
    """The name in a submission, which is judged elsewhere."""
    try:
        return msgspec.json.decode(body, type=_Named).name
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return "unreadable"


def _moment(request: Request) -> Moment:
    return moment(dict(request.headers.raw).get(b"traceparent"))
