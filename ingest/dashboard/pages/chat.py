"""A question in, an answer out, as it comes."""

from typing import Any, Final

import msgspec
from fastapi import APIRouter, Request, Response
from pydantic import ValidationError

from ingest.admission import moment
from ingest.dashboard.desk import Desk
from ingest.view.listing import Listing
from schemas.codec import decode
from schemas.errors import InvalidTaskError
from schemas.payloads.chat import ChatPayload, ChatResult
from schemas.status import State, Status

_TYPE: Final = "chat"
_LATEST: Final = 10


def router(desk: Desk) -> APIRouter:
    """``/chat``; ``POST /chat`` is the API's."""
    routes = APIRouter(include_in_schema=False, default_response_class=Response)
    runtime = desk.runtime

    @routes.get("/chat")
    @desk.page
    async def chat(request: Request) -> Response:
        task_id = request.query_params.get("task_id")

        async def gather() -> dict[str, Any]:
            asked = None if task_id is None else decode(await runtime.lookup.find(task_id), Status)
            page = await runtime.view.page(Listing(type=_TYPE, limit=_LATEST))
            earlier = [(status, _answer(status)) for status in (decode(each, Status) for each in page.documents)]
            return {"asked": asked, "answer": _answer(asked), "earlier": earlier}

        return await desk.live(
            request, "chat.html", f"chat/{task_id}", "parts/chat.html", gather, form={}, error=None, task_id=task_id
        )

    @routes.get("/chat/question")
    @desk.page
    async def question(request: Request) -> Response:
        status = decode(await runtime.lookup.find(request.query_params.get("task_id", "")), Status)

        async def gather() -> dict[str, Any]:
            payload = await runtime.payloads.find(status)
            return {"question": None if payload is None else _question(payload)}

        return desk.part(request, await desk.fragment(f"question/{status.id}", "parts/question.html", gather))

    @routes.post("/chat/ask")
    @desk.action
    async def ask(request: Request) -> Response:
        form = await desk.form(request)
        body = msgspec.json.encode(
            {"type": _TYPE, "payload": {"message": form.get("message", "").replace("\r\n", "\n")}}
        )
        try:
            async with desk.recorded(request, "task.submit", _TYPE) as outcome:
                answer = await runtime.intake.submit(body, moment())
                outcome.said, outcome.count = answer.id, 1
        except InvalidTaskError as error:
            return desk.html(
                request, "chat.html", status=error.http_status, form=form, error=error, task_id=None, live=""
            )
        return desk.see("/chat?task_id=" + answer.id, "")

    return routes


def _question(payload: bytes) -> str | None:
    try:
        return ChatPayload.model_validate_json(payload).message
    except ValidationError:  # somebody's own type `chat` asks otherwise
        return None


def _answer(status: Status | None) -> ChatResult | None:
    if status is None or status.state is not State.SUCCEEDED:
        return None
    try:
        return ChatResult.model_validate_json(bytes(status.result))
    except ValidationError:  # somebody's own type `chat` answers otherwise; the page shows that as it is
        return None
