"""The generator that stands in for wrk counts what a server answered, refusals apart."""

import asyncio
import contextlib
import shutil
from functools import partial

import pytest

from laneway.bench.load import post
from tests.support.waiting import eventually


class Server:
    """Answers `/good` with 202 and everything else with 422, in two pieces, and counts."""

    def __init__(self) -> None:
        self.answers = 0
        self.open = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next((int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"Content-Length")), 0)
                await reader.readexactly(length)
                status = b"202 Accepted" if b" /good " in head else b"422 Unprocessable"
                writer.write(b"HTTP/1.1 " + status + b"\r\nContent-Length: 10\r\n\r\n01234")
                await writer.drain()
                await asyncio.sleep(0)
                writer.write(b"56789")
                self.answers += 1
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
            self.open -= 1


@pytest.mark.parametrize(("path", "all_refused"), [("/good", False), ("/bad", True)])
async def test_every_answer_is_counted_once(path: str, all_refused: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server()
    async with await asyncio.start_server(server.serve, "127.0.0.1", 0) as listener:
        port = listener.sockets[0].getsockname()[1]
        url = f"http://127.0.0.1:{port}"
        monkeypatch.setattr(shutil, "which", lambda _name: None)
        load = await asyncio.to_thread(partial(post, url, path, b"{}", connections=4, seconds=0.5))
        await eventually(lambda: server.open == 0, within=10, what="closed connections")
    # At most what is under way on each connection is answered and not counted.
    assert load.requests <= server.answers <= load.requests + 2 * 4
    assert load.requests > 4
    assert load.refused == (load.requests if all_refused else 0)
    assert load.broken == 0
    assert 0 < load.p50_ms <= load.p99_ms
