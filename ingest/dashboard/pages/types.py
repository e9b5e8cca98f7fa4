"""Task types, and a form that submits a task of each."""

from typing import Any, Final

import msgspec
from fastapi import APIRouter, Request, Response

from ingest.admission import moment
from ingest.dashboard.desk import Desk
from ingest.dashboard.forms import fields_of, payload_of, placed
from ingest.dashboard.options import options_of
from ingest.routes.types import describe
from laneway.registry import TaskType
from schemas.errors import AdmissionError, InvalidTaskError, MalformedRequestError

_AS_JSON: Final = "json"


def router(desk: Desk) -> APIRouter:
    """``/types``."""
    routes = APIRouter(include_in_schema=False, default_response_class=Response)
    runtime = desk.runtime

    @routes.get("/types")
    @desk.page
    async def types(request: Request) -> Response:
        return desk.html(request, "types.html", types=[describe(each) for each in runtime.registry])

    @routes.get("/types/{name}")
    @desk.page
    async def task_type(request: Request) -> Response:
        found = runtime.admission.type_of(request.path_params["name"])
        return _page(request, found, {}, as_json=request.query_params.get("as") == _AS_JSON)

    @routes.post("/types/{name}")
    @desk.action
    async def submit(request: Request) -> Response:
        found = runtime.admission.type_of(request.path_params["name"])
        form = await desk.form(request)
        as_json = form.get("as") == _AS_JSON
        try:
            payload = _whole(form) if as_json else payload_of(fields_of(found.payload_schema), form)
            body = msgspec.json.encode({"type": found.name, "payload": msgspec.Raw(payload), **options_of(form)})
            async with desk.recorded(request, "task.submit", found.name) as outcome:
                answer = await runtime.intake.submit(body, moment())
                outcome.said, outcome.count = answer.id, 1
        except (InvalidTaskError, MalformedRequestError) as error:
            return _page(request, found, form, as_json=as_json, error=error)
        return desk.see(f"/tasks/{answer.id}", "submitted")

    def _page(
        request: Request,
        found: TaskType,
        form: dict[str, str],
        *,
        as_json: bool,
        error: AdmissionError | None = None,
    ) -> Response:
        fields = fields_of(found.payload_schema)
        values: dict[str, Any] = {
            "type": describe(found),
            "rate": found.rate,
            "key_rate": found.key_rate,
            "fields": fields,
            "form": form,
            "as_json": as_json,
            "error": error,
            "faults": placed(fields, error) if error is not None else {},
        }
        return desk.html(request, "type.html", status=200 if error is None else error.http_status, **values)

    return routes


def _whole(form: dict[str, str]) -> bytes:
    payload = form.get("payload", "").encode()
    try:
        msgspec.json.decode(payload)
    except (msgspec.DecodeError, RecursionError) as error:
        why = f"this is not JSON: {error}"
        raise InvalidTaskError(why, violations=[{"at": "/payload", "why": why}]) from error
    return payload
