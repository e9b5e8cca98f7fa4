"""One request of a callback: what goes out, which answers are waited for, and whom it never reaches."""

import asyncio
import base64
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest
from standardwebhooks import Webhook

from schemas.callback import CallbackPayload
from schemas.errors import CallbackError, Reject, RetryLater
from schemas.settings import CallbackSettings, Settings
from schemas.task import CALLBACK_TYPE
from streams.handlers.callback import MAX_ANSWER_BYTES, post_callback
from tests.support.contexts import context_for
from tests.support.receivers import OPEN, Answer, running_receiver
from tests.support.waiting import eventually

SECRET = f"whsec_{base64.b64encode(bytes(range(32))).decode()}"
BODY = {"type": "task.succeeded", "timestamp": "2026-11-27T12:00:00Z", "data": {"id": "a", "result": {"ä": [1, 2.5]}}}


async def post(
    url: str, tmp_path: Path, body: Mapping[str, object] | None = None, **callbacks: object
) -> dict[str, object]:
    callbacks = {"secrets": SECRET, "timeout": 5.0, "allowed_networks": f"{OPEN}/32", **callbacks}
    settings = Settings(data_dir=tmp_path, callbacks=CallbackSettings.model_validate(callbacks))
    return await post_callback(CallbackPayload(url=url, body=dict(body or BODY)), context_for(CALLBACK_TYPE, settings))


async def test_it_is_signed_and_says_what_it_is(tmp_path: Path) -> None:
    with running_receiver(lambda path, before: Answer(204)) as receiver:
        assert await post(f"{receiver.address}/hooks?tenant=acme", tmp_path) == {"status": 204}
        (request,) = receiver.requests
    assert request.path == "/hooks?tenant=acme"
    assert Webhook(SECRET).verify(request.body, request.headers) == BODY
    assert request.headers["content-type"] == "application/json"
    assert request.headers["user-agent"].startswith("Laneway/")
    assert request.headers["host"] == receiver.address.removeprefix("http://")


@pytest.mark.parametrize("host", ["localhost", "127.1", "2130706433", "0x7f000001", "127.0.0.1.", "[::ffff:127.0.0.1]"])
async def test_no_spelling_of_an_address_inside_reaches_it(host: str, tmp_path: Path) -> None:
    with running_receiver(lambda path, before: Answer(200), "127.0.0.1") as inside:
        with pytest.raises(Reject, match=r"inside|cannot be asked"):
            await post(f"http://{host}:{inside.port}/", tmp_path)
        assert inside.requests == []
        # The same name is asked where its network is allowed: what was refused was the address.
        if host == "localhost":
            assert await post(f"http://{host}:{inside.port}/", tmp_path, allowed_networks="127.0.0.1 ::1") == {
                "status": 200
            }


async def test_a_redirect_inside_is_not_followed(tmp_path: Path) -> None:
    with running_receiver(lambda path, before: Answer(200), "127.0.0.1") as inside:
        location = ("Location", f"{inside.address}/admin")
        with (
            running_receiver(lambda path, before: Answer(307, location)) as receiver,
            pytest.raises(Reject, match=r"redirects \(307\)"),
        ):
            await post(receiver.address, tmp_path)
        assert inside.requests == []


async def test_one_that_hangs_is_given_up(tmp_path: Path) -> None:
    with running_receiver(lambda path, before: Answer(200, seconds=30)) as receiver:
        with pytest.raises(CallbackError, match=r"did not answer within 0\.5 s"):
            await post(receiver.address, tmp_path, timeout=0.5)
        assert len(receiver.requests) == 1


async def test_one_that_never_ends_its_answer_is_read_no_further(tmp_path: Path) -> None:
    sent = 0

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nconnection: close\r\n\r\n")
        try:
            while True:
                writer.write(b"x" * 65_536)
                sent += 65_536
                await writer.drain()
        except OSError:
            writer.close()

    server = await asyncio.start_server(endless, OPEN, 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        assert await post(f"http://{OPEN}:{port}/", tmp_path) == {"status": 200}
    assert MAX_ANSWER_BYTES < sent < 64 * 1024 * 1024


async def test_nobody_there_is_tried_again(tmp_path: Path) -> None:
    with running_receiver(lambda path, before: Answer(200)) as receiver:
        address = receiver.address
    for url in (address, "http://no-such-name.invalid/"):
        with pytest.raises(CallbackError, match="could not be asked"):
            await post(url, tmp_path)


async def test_a_proxy_of_the_environment_is_not_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        running_receiver(lambda path, before: Answer(200)) as proxy,
        running_receiver(lambda path, before: Answer(202)) as receiver,
    ):
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.address)
        assert await post(receiver.address, tmp_path) == {"status": 202}
        assert proxy.requests == []


async def test_one_that_hangs_takes_one_request_at_a_time_until_it_answers(tmp_path: Path) -> None:
    body = {**BODY, "timestamp": datetime.now(UTC).isoformat()}
    with running_receiver(lambda path, before: Answer(200, seconds=30 if before < 2 else 0)) as receiver:
        with pytest.raises(CallbackError):
            await post(receiver.address, tmp_path, body=body, timeout=0.3)
        asked = asyncio.create_task(post(receiver.address, tmp_path, body=body, timeout=3.0))
        await eventually(lambda: len(receiver.requests) == 2, within=5)
        with pytest.raises(RetryLater, match="one at a time"):
            await post(receiver.address, tmp_path, body=body)
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
        assert await post(receiver.address, tmp_path, body=body) == {"status": 200}
        assert len(receiver.requests) == 3
