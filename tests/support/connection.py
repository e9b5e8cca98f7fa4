"""As little of HTTP as the API speaks, so that the client is not what is measured."""

import asyncio


class Connection:
    """One to a port of this machine, kept open."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        """Status and body.

        Raises:
            OSError, EOFError: the API is not there, or went away.
        """
        try:
            if self._streams is None:
                self._streams = await asyncio.open_connection("127.0.0.1", self._port)
            reader, writer = self._streams
            writer.write(
                f"{method} {path} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(body)}\r\n\r\n".encode()
                + body
            )
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            size = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
            return int(head[9:12]), await reader.readexactly(size)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let go of it; the next question opens another."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None
