"""One task: how it fares, what came of it, and what can be done about it."""

from typing import Any, Final
from urllib.parse import quote

import msgspec
from fastapi import APIRouter, Request, Response

from ingest.admission import moment
from ingest.dashboard.desk import Desk
from ingest.dashboard.way import steps_of, steps_of_status
from schemas.codec import decode
from schemas.errors import PageNotFoundError
from schemas.outcome import Event
from schemas.status import NULL, State, Status

_PLANNED_WITHIN: Final = 3.0


def router(desk: Desk) -> APIRouter:
    """``/tasks/{id}``."""
    routes = APIRouter(include_in_schema=False, default_response_class=Response)

    @routes.get("/tasks/{id}")
    @desk.page
    async def task(request: Request) -> Response:
        status = await _find(desk, request)

        async def gather() -> dict[str, Any]:
            found = await _find(desk, request)
            return {
                "task": found,
                "null": NULL,
                "steps": steps_of_status(found),
                "told": False,
                "complete": True,
                **_about(found),
            }

        return await desk.live(
            request, "task.html", f"task/{status.id}", "parts/task.html", gather, task=status, here=_address(status)
        )

    @routes.get("/tasks/{id}/timeline")
    @desk.page
    async def timeline(request: Request) -> Response:
        status = await _find(desk, request)

        async def gather() -> dict[str, Any]:
            found = await desk.runtime.timelines.read(status.id)
            steps = steps_of([decode(event, Event) for event in found.events])
            return {
                "steps": steps or steps_of_status(status),
                "told": True,
                "complete": found.complete,
                **_about(status),
            }

        key = f"way/{status.id}/{_version(status)}"
        return desk.part(request, await desk.fragment(key, "parts/way.html", gather))

    @routes.get("/tasks/{id}/why")
    @desk.page
    async def why(request: Request) -> Response:
        status = await _find(desk, request)

        async def gather() -> dict[str, Any]:
            found = await desk.runtime.explainer.why(status.id)
            return {"reasons": found.reasons, **_about(status)}

        key = f"why/{status.id}/{_version(status)}"
        return desk.part(request, await desk.fragment(key, "parts/why.html", gather))

    _contents(desk, routes)
    _actions(desk, routes)
    return routes


def _contents(desk: Desk, routes: APIRouter) -> None:
    """Payload and result, whole."""

    @routes.get("/tasks/{id}/payload")
    @desk.page
    async def payload(request: Request) -> Response:
        status = await _find(desk, request)
        if request.query_params.get("part") is None:
            found = await desk.runtime.payloads.find(status)
            if found is None:
                raise PageNotFoundError("the log does not have this task's payload any more")
            return desk.raw(found, f"{status.id}-payload.json")

        async def gather() -> dict[str, Any]:
            return {"payload": await desk.runtime.payloads.find(status), "here": _address(status)}

        return desk.part(request, await desk.fragment(f"payload/{status.id}", "parts/payload.html", gather))

    @routes.get("/tasks/{id}/result")
    @desk.page
    async def result(request: Request) -> Response:
        status = await _find(desk, request)
        if status.result == NULL:
            raise PageNotFoundError("this task has no result")
        return desk.raw(bytes(status.result), f"{status.id}-result.json")


def _actions(desk: Desk, routes: APIRouter) -> None:
    audit = desk.recorded

    @routes.get("/tasks/{id}/run-again")
    @desk.page
    async def ask_run_again(request: Request) -> Response:
        return desk.html(request, "asks/run_again.html", task=await _find(desk, request))

    @routes.post("/tasks/{id}/run-again")
    @desk.action
    async def run_again(request: Request) -> Response:
        status = await _find(desk, request)
        # Dead letters are kept longer than the lanes' own records.
        dead = status.state is State.DEAD_LETTERED
        priority = (await desk.form(request)).get("priority") or None
        body = msgspec.json.encode({"select": {"ids": [status.id]}, "priority": priority})
        said = {"type": status.type, **({} if priority is None else {"priority": priority[:40]})}
        async with audit(request, "task.run_again", status.id, **said) as outcome:
            made = await desk.runtime.replays.make(body, moment(), _PLANNED_WITHIN, dead=dead)
            outcome.said, outcome.count = f"replay {made.id}", made.counts.selected
        return desk.see(_address(status), "run-again")

    @routes.get("/tasks/{id}/cancel")
    @desk.page
    async def ask_cancel(request: Request) -> Response:
        return desk.html(request, "asks/cancel.html", task=await _find(desk, request))

    @routes.post("/tasks/{id}/cancel")
    @desk.action
    async def cancel(request: Request) -> Response:
        status = await _find(desk, request)
        async with audit(request, "task.cancel", status.id, type=status.type) as outcome:
            answer = await desk.runtime.control.cancel(status.id)
            outcome.said, outcome.count = answer.outcome.value, 1
        return desk.see(_address(status), f"cancel-{answer.outcome.value}")


async def _find(desk: Desk, request: Request) -> Status:
    return decode(await desk.runtime.lookup.find(request.path_params["id"]), Status)


def _about(status: Status) -> dict[str, Any]:
    return {"here": _address(status), "version": _version(status), "final": status.state.final}


def _version(status: Status) -> str:
    """Changes with every step of the task, and not with its progress."""
    return f"{status.generation}.{status.attempt}.{status.deferrals}.{status.state}"


def _address(status: Status) -> str:
    return f"/tasks/{quote(status.id, safe='')}"
