"""Receivers of callbacks: real HTTP servers that answer as they are told, and keep what they were asked."""

import base64
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final, NamedTuple

from schemas.settings import CallbackSettings, Settings

OPEN: Final = "127.0.0.2"
"""Where receivers are that the tests' settings allow; 127.0.0.1 is not."""

SECRETS: Final = tuple(f"whsec_{base64.b64encode(bytes([number]) * 32).decode()}" for number in (1, 2))


def with_callbacks(settings: Settings) -> Settings:
    """The same with callbacks on, little patience, and receivers at ``OPEN`` allowed."""
    callbacks = {"secrets": " ".join(SECRETS), "timeout": 1.0, "allowed_networks": f"{OPEN}/32"}
    return settings.model_copy(update={"callbacks": CallbackSettings.model_validate(callbacks)})


class Request(NamedTuple):
    """What a receiver was asked."""

    path: str
    headers: dict[str, str]
    body: bytes


class Answer(NamedTuple):
    """What it answers."""

    status: int
    header: tuple[str, str] = ("x-receiver", "of the tests")
    seconds: float = 0.0
    """How long it lets the other side wait."""


class Receiver:
    """A server; ``answer`` gets each path and how often it was asked before."""

    def __init__(self, host: str, answer: Callable[[str, int], Answer]) -> None:
        self.requests: list[Request] = []
        asked: Counter[str] = Counter()
        lock = threading.Lock()
        requests = self.requests

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                with lock:
                    headers = {name.lower(): value for name, value in self.headers.items()}
                    requests.append(Request(self.path, headers, body))
                    before = asked[self.path]
                    asked[self.path] += 1
                said = answer(self.path, before)
                closing.wait(said.seconds)
                try:
                    self.send_response(said.status)
                    self.send_header("content-length", "0")
                    self.send_header(*said.header)
                    self.end_headers()
                except OSError:  # it had been waited for too long
                    self.close_connection = True

            def log_message(self, format: str, *args: object) -> None: ...  # noqa: A002  (the standard library's name)

        closing = self._closing = threading.Event()
        self._server = ThreadingHTTPServer((host, 0), Handler)
        self.port = int(self._server.server_address[1])
        self.address = f"http://{host}:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    def asked(self, path: str) -> list[Request]:
        """The requests to a path so far, oldest first."""
        return [request for request in self.requests if request.path == path]

    def close(self) -> None:
        """End it."""
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)


@contextmanager
def running_receiver(answer: Callable[[str, int], Answer], host: str = OPEN) -> Iterator[Receiver]:
    """A receiver for as long as the block runs."""
    receiver = Receiver(host, answer)
    try:
        yield receiver
    finally:
        receiver.close()
