"""A TCP proxy on the loopback interface that can be told to be a bad network."""

import asyncio
import threading
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Final, TypeVar

HOST: Final = "127.0.0.1"
_CHUNK: Final = 64 * 1024

T = TypeVar("T")


@dataclass
class Weather:
    """What the network does to every connection, from now on."""

    delay: float = 0.0
    """Seconds that each chunk is late, in either direction."""
    bytes_per_second: float | None = None
    """Bound on each direction of each connection."""
    silent: bool = False
    """Connections stay open and carry nothing: half-open, as after a cable was pulled."""
    deaf_after: int | None = None
    """Requests pass; after so many more bytes of answers the connections are cut: acknowledged and never heard."""


class TcpProxy:
    """Forwards a port of its own to another one, in a thread of its own.

    Args:
        port: where it listens; 0 chooses a free one.
    """

    def __init__(self, port: int = 0) -> None:
        self.weather = Weather()
        self.upstream = 0
        """Port that it forwards to; until it is set, connections are closed at once."""
        self.carried = 0
        """Bytes that passed, in both directions."""
        self.dropped = 0
        """Bytes that were swallowed or cut off."""
        self.cuts = 0
        """Connections that were cut."""
        self._loop = asyncio.new_event_loop()
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()
        self._server = self._call(asyncio.start_server(self._connected, HOST, port))
        self.port = int(self._server.sockets[0].getsockname()[1])

    @property
    def address(self) -> str:
        """Where clients find it."""
        return f"{HOST}:{self.port}"

    def cut(self) -> int:
        """Reset every connection that is open now; answers how many there were."""
        return self._call(self._cut())

    def close(self) -> None:
        """Stop listening, cut what is open, end the thread."""
        self._server.close()
        self._call(self._cut())
        self._call(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def _call(self, job: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(job, self._loop).result(10)

    async def _end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _cut(self) -> int:
        writers, self._writers = self._writers, set()
        for writer in writers:
            writer.transport.abort()
        self.cuts += len(writers) // 2
        return len(writers) // 2

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there_reader, there_writer = await asyncio.open_connection(HOST, self.upstream)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, there_writer}
        for source, target, answers in ((reader, there_writer, False), (there_reader, writer, True)):
            task = self._loop.create_task(self._pump(source, target, answers=answers))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pump(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, *, answers: bool) -> None:
        try:
            while chunk := await source.read(_CHUNK):
                weather = self.weather
                if weather.silent:
                    self.dropped += len(chunk)
                    continue
                if weather.delay:
                    await asyncio.sleep(weather.delay)
                if weather.bytes_per_second:
                    await asyncio.sleep(len(chunk) / weather.bytes_per_second)
                if answers and weather.deaf_after is not None:
                    weather.deaf_after -= len(chunk)
                    if weather.deaf_after < 0:
                        weather.deaf_after = None
                        self.dropped += len(chunk)
                        await self._cut()
                        return
                target.write(chunk)
                await target.drain()
                self.carried += len(chunk)
        except OSError:
            pass
        finally:
            self._writers.discard(target)
            target.transport.abort() if target.transport.is_closing() else target.close()
