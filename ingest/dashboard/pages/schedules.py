"""Schedules: what fires next, made, held, run at once and removed."""

from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from fastapi import APIRouter, Request, Response

from ingest.admission import moment
from ingest.dashboard.desk import Desk
from ingest.dashboard.options import options_of
from schemas import codec
from schemas.errors import InvalidTaskError, MalformedRequestError
from schemas.schedule import Missed, Overlap, ScheduleView

_SAID: Final = ("name", "cron", "timezone", "missed", "overlap")


def router(desk: Desk) -> APIRouter:
    """``/schedules``."""
    routes = APIRouter(include_in_schema=False, default_response_class=Response)
    runtime = desk.runtime

    async def gather() -> dict[str, Any]:
        return {"schedules": await runtime.schedules.every(datetime.now(UTC))}

    @routes.get("/schedules")
    @desk.page
    async def schedules(request: Request) -> Response:
        return await desk.live(request, "schedules.html", "schedules", "parts/schedules.html", gather)

    @routes.get("/schedules/new")
    @desk.page
    async def new(request: Request) -> Response:
        return _form(request, {}, None)

    @routes.post("/schedules/new")
    @desk.action
    async def add(request: Request) -> Response:
        form = await desk.form(request)
        try:
            body = _body(form)
            async with desk.recorded(request, "schedule.put", form.get("name", "")[:100]) as outcome:
                _, created = await runtime.schedules.put(body, moment())
                outcome.said = "added" if created else "replaced"
        except (InvalidTaskError, MalformedRequestError) as error:
            return _form(request, form, error)
        return desk.see("/schedules", "schedule-added" if created else "schedule-replaced")

    def _form(
        request: Request, form: dict[str, str], error: InvalidTaskError | MalformedRequestError | None
    ) -> Response:
        return desk.html(
            request,
            "schedule_new.html",
            status=200 if error is None else error.http_status,
            form=form,
            error=error,
            types=runtime.registry.names,
            missed=list(Missed),
            overlap=list(Overlap),
        )

    routes.include_router(_of_one(desk))
    return routes


def _of_one(desk: Desk) -> APIRouter:
    """``/schedules/{name}``."""
    routes = APIRouter(include_in_schema=False, default_response_class=Response)
    runtime = desk.runtime

    async def found(request: Request) -> ScheduleView:
        return await runtime.schedules.find(request.path_params["name"], datetime.now(UTC))

    @routes.get("/schedules/{name}/remove")
    @desk.page
    async def ask_remove(request: Request) -> Response:
        return desk.html(request, "asks/schedule_remove.html", schedule=await found(request))

    @routes.post("/schedules/{name}/remove")
    @desk.action
    async def remove(request: Request) -> Response:
        schedule = await found(request)
        async with desk.recorded(request, "schedule.delete", schedule.name) as outcome:
            await runtime.schedules.delete(schedule.name, moment())
            outcome.said = "removed"
        return desk.see("/schedules", "schedule-removed")

    @routes.get("/schedules/{name}/run")
    @desk.page
    async def ask_run(request: Request) -> Response:
        return desk.html(request, "asks/schedule_run.html", schedule=await found(request))

    @routes.post("/schedules/{name}/run")
    @desk.action
    async def run(request: Request) -> Response:
        schedule = await found(request)
        async with desk.recorded(request, "schedule.run", schedule.name) as outcome:
            answer = await runtime.intake.submit(codec.encode(schedule.task), moment())
            outcome.said, outcome.count = answer.id, 1
        return desk.see(f"/tasks/{answer.id}", "submitted")

    async def hold(request: Request, *, paused: bool) -> Response:
        schedule = await found(request)
        said: dict[str, Any] = {name: getattr(schedule, name) for name in _SAID}
        body = msgspec.json.encode({**said, "task": schedule.task, "paused": paused})
        action = "schedule.pause" if paused else "schedule.resume"
        async with desk.recorded(request, action, schedule.name) as outcome:
            await runtime.schedules.put(body, moment())
            outcome.said = "paused" if paused else "resumed"
        return desk.see("/schedules", "schedule-paused" if paused else "schedule-resumed")

    @routes.post("/schedules/{name}/pause")
    @desk.action
    async def pause(request: Request) -> Response:
        return await hold(request, paused=True)

    @routes.post("/schedules/{name}/resume")
    @desk.action
    async def resume(request: Request) -> Response:
        return await hold(request, paused=False)

    return routes


def _body(form: dict[str, str]) -> bytes:
    payload = form.get("payload", "").strip() or "{}"
    try:
        msgspec.json.decode(payload)
    except (msgspec.DecodeError, RecursionError) as error:
        why = f"the payload is not JSON: {error}"
        raise InvalidTaskError(why, violations=[{"at": "/task/payload", "why": why}]) from error
    task = {"type": form.get("type", ""), "payload": msgspec.Raw(payload.encode()), **options_of(form)}
    said = {name: form[name].strip() for name in _SAID if form.get(name, "").strip()}
    return msgspec.json.encode({**said, "task": task})
