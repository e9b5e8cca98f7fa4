"""A connection to one broker."""

import asyncio
import struct
import time
from collections.abc import Callable
from typing import Final, Generic, TypeVar, cast

from laneway.kafka import wire

Flight = TypeVar("Flight")

_CONNECT_SECONDS: Final = 3.0
_ASK_SECONDS: Final = 3.0
_LENGTH: Final = struct.Struct(">i")


class BrokerLink(asyncio.Protocol, Generic[Flight]):
    """A connection with one produce request under way at most.

    Args:
        client_id: what the broker knows us by.
        ready: called once connected.
        answered: called with what was sent and the broker's answers.
        lost: called with what was under way, if anything, and why the connection is gone or was not made.
    """

    def __init__(
        self,
        client_id: bytes,
        ready: Callable[[], None],
        answered: Callable[[Flight, list[wire.PartitionAnswer]], None],
        lost: Callable[[Flight | None, str], None],
    ) -> None:
        self._client_id = client_id
        self._ready = ready
        self._answered = answered
        self._lost = lost
        self._transport: asyncio.Transport | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._buffer = bytearray()
        self._correlation = 0
        self.address: tuple[str, int] | None = None
        self.flight: Flight | None = None
        """What was sent and has no answer yet."""
        self.sent_at = 0.0

    @property
    def connected(self) -> bool:
        """Whether ``send`` may be called."""
        return self._transport is not None

    def connect(self, host: str, port: int) -> None:
        """Begin to connect, unless that is under way."""
        self.address = (host, port)
        if self._connecting is None or self._connecting.done():
            self._connecting = asyncio.get_running_loop().create_task(self._connect(host, port))

    async def _connect(self, host: str, port: int) -> None:
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                await asyncio.get_running_loop().create_connection(lambda: self, host, port)
        except (OSError, TimeoutError) as error:
            self._lost(None, str(error) or "no connection in time")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is there."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one, but not by inheritance
        self._ready()

    def send(self, flight: Flight, topics: dict[str, list[tuple[int, bytes]]], timeout_ms: int) -> None:
        """Send batches; only once ``connected``, and while nothing is under way."""
        if self._transport is None:
            raise RuntimeError("there is no connection to send on")
        self._correlation = (self._correlation + 1) & 0x7FFFFFFF
        self.flight = flight
        self.sent_at = time.monotonic()
        self._transport.write(wire.produce_request(self._correlation, self._client_id, timeout_ms, topics))

    def data_received(self, data: bytes) -> None:
        """Take a part of the stream."""
        buffer = self._buffer
        buffer += data
        while len(buffer) >= 4:
            (size,) = _LENGTH.unpack_from(buffer)
            if len(buffer) < size + 4:
                return
            frame = bytes(buffer[4 : size + 4])
            del buffer[: size + 4]
            # Read before what is under way is let go: an answer that cannot be read closes the connection, and what
            # it was about comes back as lost.
            answers = wire.read_produce_answer(frame)
            flight, self.flight = self.flight, None
            if flight is not None:
                self._answered(flight, answers)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._transport = None
        self._buffer.clear()
        flight, self.flight = self.flight, None
        self._lost(flight, str(exc) if exc else "the connection was closed")

    def close(self) -> None:
        """Give it up; what is under way comes back by ``lost``."""
        if self._connecting is not None:
            self._connecting.cancel()
        if self._transport is not None:
            self._transport.abort()


async def ask(host: str, port: int, request: bytes) -> bytes:
    """One request and its answer, on a connection of its own.

    Raises:
        OSError: no connection.
        EOFError: closed before the answer.
        TimeoutError: neither in time.
    """
    async with asyncio.timeout(_ASK_SECONDS):
        reader, writer = await asyncio.open_connection(host, port)
        try:
            writer.write(request)
            (size,) = _LENGTH.unpack(await reader.readexactly(4))
            return await reader.readexactly(size)
        finally:
            writer.close()
