"""Replays: planned, looked at, run, paused and aborted."""

from typing import Any, Final

import msgspec
from fastapi import APIRouter, Request, Response

from ingest.admission import moment
from ingest.dashboard.desk import Desk
from ingest.dashboard.options import labels_of
from ingest.violations import invalid
from schemas.errors import (
    AdmissionError,
    InvalidReplayError,
    InvalidTaskError,
    MalformedRequestError,
    TypeNotFoundError,
)
from schemas.replay import Source, Wish
from schemas.status import FINAL_STATES, State

_PLANNED_WITHIN: Final = 5.0
_REFUSED: Final = (InvalidReplayError, InvalidTaskError, MalformedRequestError, TypeNotFoundError)


def router(desk: Desk) -> APIRouter:
    """``/replays``."""
    routes = APIRouter(include_in_schema=False, default_response_class=Response)
    runtime = desk.runtime

    async def gather() -> dict[str, Any]:
        return {"replays": await runtime.replays.every()}

    @routes.get("/replays")
    @desk.page
    async def replays(request: Request) -> Response:
        return await desk.live(request, "replays.html", "replays", "parts/replays.html", gather)

    @routes.get("/replays/new")
    @desk.page
    async def new(request: Request) -> Response:
        return form_page(request, dict(request.query_params), None)

    @routes.post("/replays/new")
    @desk.action
    async def plan(request: Request) -> Response:
        form = await desk.form(request)
        try:
            body = _body(form)
            async with desk.recorded(request, "replay.plan", form.get("types") or "all types") as outcome:
                # Nothing runs before somebody has seen what it would touch.
                made = await runtime.replays.make(body, moment(), _PLANNED_WITHIN)
                outcome.said, outcome.count = made.id, made.counts.selected
        except _REFUSED as error:
            return form_page(request, form, error)
        return desk.see(f"/replays/{made.id}", "replay-planned")

    def form_page(request: Request, form: dict[str, str], error: AdmissionError | None) -> Response:
        return desk.html(
            request,
            "replay_new.html",
            status=200 if error is None else error.http_status,
            form=form,
            error=error,
            types=["", *runtime.registry.names],
            ends=["", *(state for state in State if state in FINAL_STATES)],
            sources=list(Source),
        )

    routes.include_router(_of_one(desk))
    return routes


def _of_one(desk: Desk) -> APIRouter:
    """``/replays/{id}``."""
    routes = APIRouter(include_in_schema=False, default_response_class=Response)
    runtime = desk.runtime

    @routes.get("/replays/{id}")
    @desk.page
    async def replay(request: Request) -> Response:
        replay_id: str = request.path_params["id"]

        async def gather() -> dict[str, Any]:
            return {"replay": await runtime.replays.find(replay_id)}

        return await desk.live(
            request, "replay.html", f"replay/{replay_id}", "parts/replay.html", gather, replay_id=replay_id
        )

    @routes.get("/replays/{id}/{wish}")
    @desk.page
    async def ask(request: Request) -> Response:
        found = await runtime.replays.find(request.path_params["id"])
        return desk.html(request, "asks/replay.html", replay=found, wish=_wish(request))

    @routes.post("/replays/{id}/{wish}")
    @desk.action
    async def carry_out(request: Request) -> Response:
        replay_id: str = request.path_params["id"]
        wish = _wish(request)
        async with desk.recorded(request, f"replay.{wish}", replay_id) as outcome:
            found = await runtime.replays.ask(replay_id, wish, moment())
            outcome.count = found.counts.selected if wish is Wish.RUN else None
        return desk.see(f"/replays/{replay_id}", f"replay-{wish}")

    return routes


def _wish(request: Request) -> Wish:
    try:
        return Wish(request.path_params["wish"])
    except ValueError:
        raise MalformedRequestError(f"a replay can be asked to {', '.join(Wish)}") from None


def _body(form: dict[str, str]) -> bytes:
    """A submission that only plans; what is left empty is left out.

    Raises:
        InvalidTaskError: a number, a time, labels or JSON that are none.
    """
    said = {name: value.strip() for name, value in form.items() if value.strip()}
    select: dict[str, Any] = {
        **{name: [said[field]] for name, field in (("types", "types"), ("states", "states")) if field in said},
        **{name: said[name] for name in ("since", "until", "key", "error", "where") if name in said},
    }
    if "labels" in said:
        select["labels"] = labels_of(said["labels"])
    body: dict[str, Any] = {"select": select, "dry_run": True}
    if said.get("shadow") == "yes":
        body["shadow"] = True
    for name in ("rate", "max"):
        if name in said:
            body[name] = _number(name, said[name])
    if "priority" in said:
        body["priority"] = None if said["priority"] == "as it was" else said["priority"]
    if "source" in said:
        body["source"] = said["source"]
    if "canary" in said:
        body["canary"] = {"count": _number("canary", said["canary"])}
    if "patch" in said:
        try:
            msgspec.json.decode(said["patch"])
        except (msgspec.DecodeError, RecursionError) as error:
            raise invalid("/patch", f"this is not JSON: {error}") from error
        body["patch"] = msgspec.Raw(said["patch"].encode())
    return msgspec.json.encode(body)


def _number(name: str, text: str) -> int | float:
    try:
        return int(text) if text.isdecimal() else float(text)
    except ValueError as error:
        raise invalid(f"/{name}", f"{text[:40]!r} is no number") from error
