"""An SMTP server for development and tests: it delivers nothing and keeps every message as an ``.eml`` file."""

import argparse
import asyncio
import contextlib
import ipaddress
import signal
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Self

from aiosmtpd.smtp import SMTP, Envelope, Session

from laneway.ids import new_id
from schemas.errors import ConfigurationError

MAX_MESSAGE_BYTES: Final = 40 * 1024 * 1024


class SmtpSink:
    """The server; listens within ``async with``.

    Delivery: a message is accepted (250) only once its file is whole; the name is the time and an id, so that names
        sort by arrival.
    """

    def __init__(self, folder: Path, *, host: str = "127.0.0.1", port: int = 0) -> None:
        """Args tell where to keep messages and where to listen; port 0 takes a free one.

        Raises:
            ConfigurationError: ``host`` is not a loopback address: an open server that takes anything is bait.
        """
        if not _is_loopback(host):
            raise ConfigurationError("the SMTP sink's host", host, "a loopback address, such as 127.0.0.1")
        self.folder = folder
        self.host = host
        self.port = port
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen; ``port`` tells the real port from here on."""
        await asyncio.to_thread(self.folder.mkdir, parents=True, exist_ok=True)
        loop = asyncio.get_running_loop()

        def connection() -> SMTP:
            return SMTP(_Keeper(self.folder), data_size_limit=MAX_MESSAGE_BYTES, ident="Laneway sink", loop=loop)

        self._server = await loop.create_server(connection, self.host, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Listen no more. Connections that are open end with their clients or with the loop."""
        if self._server is not None:
            # Not `wait_closed`: from Python 3.12 on it waits for every client, and an idle one would hold up the stop.
            self._server.close()
            self._server = None

    def messages(self) -> list[Path]:
        """The messages kept so far, in the order of arrival."""
        return sorted(self.folder.glob("*.eml"))


class _Keeper:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    # aiosmtpd finds its hooks by these names.
    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        name = await asyncio.to_thread(self._keep, envelope)
        return f"250 OK kept as {name}"

    def _keep(self, envelope: Envelope) -> str:
        name = f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}-{new_id()[-12:]}.eml"
        content = envelope.content or b""
        aside = self._folder / f".{name}.part"
        # Who it was for stands nowhere in the message when it went to a bcc.
        envelope_headers = "".join(f"X-Envelope-To: {recipient}\r\n" for recipient in envelope.rcpt_tos)
        aside.write_bytes(envelope_headers.encode() + (content if isinstance(content, bytes) else content.encode()))
        aside.rename(self._folder / name)
        return name


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


async def serve(host: str, port: int, folder: Path) -> None:
    """Run a sink until cancelled.

    Raises:
        ConfigurationError: ``host`` is not a loopback address.
        OSError: the port is taken.
    """
    async with SmtpSink(folder, host=host, port=port):
        await asyncio.Event().wait()


async def _serve_until_signalled(host: str, port: int, folder: Path) -> None:
    serving = asyncio.ensure_future(serve(host, port, folder))
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, serving.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await serving


def main() -> None:
    """``python -m laneway.smtp_sink``: run a sink until SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m laneway.smtp_sink", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--dir", type=Path, required=True, help="folder for the .eml files")
    options = parser.parse_args()
    try:
        asyncio.run(_serve_until_signalled(options.host, options.port, options.dir))
    except (ConfigurationError, OSError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
