"""A question in, an answer out: the shortest way to use the system."""

import msgspec
from fastapi import APIRouter, Request, Response
from msgspec import Struct

from ingest import openapi
from ingest.admission import decode_body, moment
from ingest.body import read_body
from ingest.parameters import wait_of
from ingest.requests_log import TASK_ID
from ingest.runtime import Runtime
from schemas.codec import decode
from schemas.errors import MalformedRequestError
from schemas.status import Status

_JSON = "application/json"


class ChatMessage(Struct, frozen=True, forbid_unknown_fields=True):
    """Body of ``POST /chat``."""

    message: str


_MESSAGE = msgspec.json.Decoder(ChatMessage)


def router(runtime: Runtime) -> APIRouter:
    """``POST /chat`` and ``GET /result``."""
    routes = APIRouter(tags=["chat"], default_response_class=Response)

    @routes.post("/chat", **openapi.CHAT)
    async def chat(request: Request) -> Response:
        """Ask a question: a task of type `chat`."""
        headers = dict(request.headers.raw)
        asked = decode_body(
            _MESSAGE,
            await read_body(request.receive, headers.get(b"content-length"), runtime.settings.api.max_body_bytes),
        )
        body = msgspec.json.encode({"type": "chat", "payload": {"message": asked.message}})
        answer = await runtime.intake.submit(body, moment(headers.get(b"traceparent")))
        request.scope[TASK_ID] = answer.id
        return Response(
            msgspec.json.encode({"task_id": answer.id}),
            202,
            {"location": f"/result?task_id={answer.id}"},
            media_type=_JSON,
        )

    @routes.get("/result", **openapi.RESULT)
    async def result(request: Request) -> Response:
        """The answer, or the state that the task is in."""
        task_id = request.query_params.get("task_id")
        if not task_id:
            raise MalformedRequestError("task_id is missing: GET /result?task_id=…")
        request.scope[TASK_ID] = task_id
        wait = wait_of(request.query_params, runtime.settings.api.max_wait)
        document = await (runtime.lookup.wait(task_id, wait) if wait else runtime.lookup.find(task_id))
        status = decode(document, Status)
        told: dict[str, object] = {"task_id": status.id, "state": status.state}
        if status.state.final:
            told["result"] = status.result
            told["error"] = status.error
        return Response(msgspec.json.encode(told), 200 if status.state.final else 202, media_type=_JSON)

    return routes
