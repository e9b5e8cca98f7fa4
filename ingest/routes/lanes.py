"""Lanes: how they stand, holding and freeing them."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import msgspec
from fastapi import APIRouter, Request, Response

from ingest import openapi
from ingest.body import read_body, said_length
from ingest.control import LaneState
from ingest.runtime import Runtime
from ingest.view.lanes import LaneTasks
from schemas.errors import InvalidTaskError, MalformedRequestError, UnavailableError
from schemas.task import Lane, Priority

_MAX_BODY = 10_000


class _Hold(msgspec.Struct, forbid_unknown_fields=True):
    reason: str | None = None


def router(runtime: Runtime) -> APIRouter:
    """The routes under ``/api/lanes``."""
    routes = APIRouter(tags=["lanes"], default_response_class=Response)

    @routes.get("/api/lanes", **openapi.LANES)
    async def get_lanes(_request: Request) -> Response:
        """Every lane: what waits and how long, how fast it flows, what runs, who works on it, whether it is held."""
        lanes = runtime.lanes
        found, tasks = await asyncio.gather(runtime.control.lanes(lanes), _tasks(lanes))
        workers = _workers()
        now = datetime.now(UTC)
        return _json(
            {
                "lanes": [
                    describe(each)
                    | flow_of(each.rate, None if tasks is None else tasks[each.lane], now)
                    | {"workers": None if workers is None else workers.get(each.lane, [])}
                    for each in found
                ]
            }
        )

    @routes.post("/api/lanes/{type}/{priority}/pause", **openapi.PAUSE)
    async def pause(request: Request) -> Response:
        """Hold a lane on every worker; what runs goes on."""
        return await _hold(request, paused=True)

    @routes.post("/api/lanes/{type}/{priority}/resume", **openapi.RESUME)
    async def resume(request: Request) -> Response:
        """Let a lane flow again."""
        return await _hold(request, paused=False)

    async def _tasks(lanes: list[Lane]) -> dict[Lane, LaneTasks] | None:
        try:
            return await runtime.view.lanes(lanes)
        except UnavailableError:
            return None  # the view is being built anew, which readiness tells; the rest is known

    def _workers() -> dict[Lane, list[str]] | None:
        try:
            return runtime.workers.by_lane()
        except UnavailableError:
            return None

    async def _hold(request: Request, *, paused: bool) -> Response:
        lane = _lane(request)
        body = await read_body(request.receive, said_length(request), _MAX_BODY)
        reason = _reason(body)
        action = "lane.pause" if paused else "lane.resume"
        async with runtime.audit.by_api(request, action, str(lane), reason=(reason or "")[:500]) as outcome:
            control = await runtime.control.hold(lane, paused=paused, reason=reason)
            outcome.said = "paused" if paused else "resumed"
        return _json(describe(LaneState(lane, None, control)))

    def _lane(request: Request) -> Lane:
        name = request.path_params["type"]
        if name not in runtime.registry.own:
            name = runtime.admission.type_of(name).name
        try:
            return Lane(name, Priority(request.path_params["priority"]))
        except ValueError:
            raise MalformedRequestError(
                f"no priority {request.path_params['priority']!r}; there are {', '.join(Priority)}"
            ) from None

    return routes


def describe(state: LaneState) -> dict[str, Any]:
    """A lane as the API tells it."""
    control = state.control
    told: dict[str, Any] = {
        "type": state.lane.type,
        "priority": state.lane.priority,
        "lag": state.lag,
        "paused": control is not None and control.paused,
    }
    if control is not None:
        told |= {"since": control.at, "by": control.by, "reason": control.reason}
    return told


def flow_of(rate: float | None, tasks: LaneTasks | None, now: datetime) -> dict[str, Any]:
    """How a lane flows, as the API tells it."""
    if tasks is None:
        return {"oldest_seconds": None, "running": None, "rate": rate, "waits": None}
    # Another machine's clock may be ahead of ours.
    age = None if tasks.oldest is None else max(0.0, (now - tasks.oldest).total_seconds())
    waits = None if tasks.waits is None else tasks.waits._asdict()
    return {"oldest_seconds": age, "running": tasks.running, "rate": rate, "waits": waits}


def _reason(body: bytes) -> str | None:
    if not body.strip():
        return None
    try:
        return msgspec.json.decode(body, type=_Hold).reason
    except msgspec.ValidationError as error:
        raise InvalidTaskError(f"the body: {error}", violations=[{"at": "", "why": str(error)}]) from error
    except msgspec.DecodeError as error:
        raise MalformedRequestError(f"the body is not JSON: {error}") from error


def _json(value: object) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json")
