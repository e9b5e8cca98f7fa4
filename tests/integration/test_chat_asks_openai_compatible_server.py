"""The type chat asks a real HTTP server that speaks the API of OpenAI, and does what its answers ask for."""

import json
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import pytest
from pydantic import AnyHttpUrl, SecretStr

from schemas.errors import Reject, RetryLater
from schemas.payloads.chat import ChatPayload
from schemas.settings import ChatSettings, Settings
from streams.handlers.chat import process_query
from streams.handlers.retry_after import DEFAULT_WAIT
from tests.support.contexts import RecordedContext, context_for
from tests.support.source_tree import ROOT

QUESTION = ChatPayload(message="How do I redrive dead letters?", max_sources=2)
ANSWER = {
    "model": "small-1",
    "choices": [{"message": {"role": "assistant", "content": "With laneway dlq redrive [1]."}}],
}


class ChatServer(ThreadingHTTPServer):
    """Answers `POST /v1/chat/completions` as it is told to, and keeps what it was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Completions)
        self.status = 200
        self.headers: dict[str, str] = {}
        self.body = json.dumps(ANSWER).encode()
        self.asked: list[dict[str, Any]] = []
        self.authorizations: list[str | None] = []


class _Completions(BaseHTTPRequestHandler):
    server: ChatServer

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        known = self.path == "/v1/chat/completions"
        if known:
            self.server.asked.append(json.loads(body))
            self.server.authorizations.append(self.headers["Authorization"])
        self.send_response(self.server.status if known else 404)
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(self.server.body)))
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (the name is the parent's)
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with ChatServer() as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def context(server: ChatServer, tmp_path: Path) -> RecordedContext:
    chat = ChatSettings(
        documents_dir=ROOT / "examples" / "documents",
        openai_base_url=AnyHttpUrl(f"http://127.0.0.1:{server.server_port}/v1/"),
        openai_api_key=SecretStr("key-1"),
        openai_model="small",
        timeout=5,
    )
    return context_for("chat", Settings(data_dir=tmp_path / "data", chat=chat))


async def test_the_server_answers_from_the_passages(server: ChatServer, context: RecordedContext) -> None:
    result = await process_query(QUESTION, context)
    assert result["answer"] == "With laneway dlq redrive [1]."
    assert (result["answered_by"], result["model"], result["found"]) == ("model", "small-1", True)
    [asked] = server.asked
    assert asked["model"] == "small"
    assert [message["role"] for message in asked["messages"]] == ["system", "user"]
    question = asked["messages"][1]["content"]
    assert question.endswith("Question: How do I redrive dead letters?")
    assert len(result["sources"]) == 2
    for source in result["sources"]:
        assert source["passage"] in question
    assert server.authorizations == ["Bearer key-1"]


async def test_a_question_without_passages_is_asked_too(server: ChatServer, context: RecordedContext) -> None:
    result = await process_query(ChatPayload(message="Who won the football match?"), context)
    assert (result["found"], result["sources"], result["answered_by"]) == (False, [], "model")
    assert "none found" in server.asked[0]["messages"][1]["content"]


@pytest.mark.parametrize(
    ("status", "headers", "wait"),
    [
        (429, {"Retry-After": "7"}, timedelta(seconds=7)),
        (429, {}, DEFAULT_WAIT),
        (503, {"Retry-After": "30"}, timedelta(seconds=30)),
    ],
)
async def test_a_server_that_asks_to_come_back_later_is_obeyed(
    status: int, headers: dict[str, str], wait: timedelta, server: ChatServer, context: RecordedContext
) -> None:
    server.status, server.headers = status, headers
    with pytest.raises(RetryLater) as raised:
        await process_query(QUESTION, context)
    assert raised.value.delay == wait


@pytest.mark.parametrize("status", [500, 502, 503, 408])
async def test_a_server_that_fails_spends_an_attempt(status: int, server: ChatServer, context: RecordedContext) -> None:
    server.status = status
    with pytest.raises(httpx.HTTPStatusError, match=str(status)):
        await process_query(QUESTION, context)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422])
async def test_a_refusal_is_for_good(status: int, server: ChatServer, context: RecordedContext) -> None:
    server.status, server.body = status, b'{"error": {"message": "no such model"}}'
    with pytest.raises(Reject, match="no such model") as raised:
        await process_query(QUESTION, context)
    assert "key-1" not in str(raised.value)


@pytest.mark.parametrize(
    "body",
    [b"<html>welcome</html>", b"{}", b"[]", b"null", b'{"choices": []}', b'{"choices": [{"message": {"content": 1}}]}'],
)
async def test_a_server_that_speaks_something_else_is_told(
    body: bytes, server: ChatServer, context: RecordedContext
) -> None:
    server.body = body
    with pytest.raises(Reject, match="OpenAI-compatible"):
        await process_query(QUESTION, context)


async def test_a_redirect_is_no_answer(server: ChatServer, context: RecordedContext) -> None:
    # The key went to the address of the settings; whoever answers there cannot send it on.
    server.status, server.headers = 307, {"Location": "http://127.0.0.1:1/elsewhere"}
    with pytest.raises(httpx.HTTPStatusError, match="307"):
        await process_query(QUESTION, context)


async def test_a_server_that_is_not_there_is_tried_again(server: ChatServer, context: RecordedContext) -> None:
    server.shutdown()
    server.server_close()
    with pytest.raises(httpx.TransportError):
        await process_query(QUESTION, context)
