"""The load generator for where wrk is not: raw sockets on one loop, requests built beforehand.

``python -m laneway.bench.own_load post|get URL PATH FILE CONNECTIONS SECONDS``
"""

import asyncio
import re
import sys
import time
from functools import partial
from pathlib import Path
from typing import Final, cast
from urllib.parse import urlsplit

import msgspec
import uvloop

from laneway.bench.load import Load

_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_END_OF_HEAD: Final = b"\r\n\r\n"
_STATUS: Final = slice(9, 12)
_FIRST_REFUSAL: Final = 400


class Connection(asyncio.Protocol):
    """One connection: sends the next request as soon as the answer to the last one is whole."""

    def __init__(self, requests: list[bytes], first: int, latencies: list[float]) -> None:
        self._requests = requests
        self._next = first
        self._latencies = latencies
        self._buffer = bytearray()
        self._sent_at = 0.0
        self._transport: asyncio.Transport | None = None
        self.refused = 0
        self.broken = 0
        self._stopped = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first request."""
        # uvloop's transports are none of asyncio's classes, though they do what these say.
        self._transport = cast("asyncio.Transport", transport)
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        """Count it, unless we closed it."""
        if not self._stopped:
            self.broken += 1

    def data_received(self, data: bytes) -> None:
        """Count an answer once it is whole."""
        buffer = self._buffer
        buffer += data
        head = buffer.find(_END_OF_HEAD)
        if head < 0:
            return
        found = _LENGTH.search(buffer, 0, head)
        end = head + len(_END_OF_HEAD) + (int(found[1]) if found else 0)
        if len(buffer) < end:
            return
        if int(buffer[_STATUS]) >= _FIRST_REFUSAL:
            self.refused += 1
        self._latencies.append(time.perf_counter() - self._sent_at)
        del buffer[:end]
        self._send()

    def close(self) -> None:
        """End it."""
        self._stopped = True
        if self._transport is not None:
            self._transport.abort()

    def _send(self) -> None:
        if self._transport is None or self._stopped:
            return
        self._sent_at = time.perf_counter()
        self._transport.write(self._requests[self._next])
        self._next = (self._next + 1) % len(self._requests)


def requests_of(kind: str, host: str, path: str, data: bytes) -> list[bytes]:
    """The requests, built beforehand: one ``POST`` of ``data``, or a ``GET`` for each line of it."""
    if kind == "post":
        head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        return [f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data]
    return [f"GET {line} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode() for line in data.decode().split()]


def _same(connection: Connection) -> Connection:
    return connection


async def run(url: str, requests: list[bytes], connections: int, seconds: float) -> Load:
    """Load for ``seconds``."""
    parts = urlsplit(url)
    latencies: list[float] = []
    loop = asyncio.get_running_loop()
    began = time.perf_counter()
    made = [Connection(requests, number % len(requests), latencies) for number in range(connections)]
    for connection in made:
        await loop.create_connection(partial(_same, connection), parts.hostname or "", parts.port or 80)
    await asyncio.sleep(max(0.0, began + seconds - time.perf_counter()))
    elapsed = time.perf_counter() - began
    count = len(latencies)
    for connection in made:
        connection.close()
    ordered = sorted(latencies) or [0.0]
    return Load(
        requests=count,
        seconds=elapsed,
        refused=sum(connection.refused for connection in made),
        broken=sum(connection.broken for connection in made),
        p50_ms=ordered[len(ordered) // 2] * 1000,
        p99_ms=ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))] * 1000,
    )


def main(kind: str, url: str, path: str, file: str, connections: str, seconds: str) -> None:
    """Run and write the figures to standard output."""
    requests = requests_of(kind, urlsplit(url).netloc, path, Path(file).read_bytes())
    load = uvloop.run(run(url, requests, int(connections), float(seconds)))
    sys.stdout.write(f"JSON{msgspec.json.encode(load).decode()}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
