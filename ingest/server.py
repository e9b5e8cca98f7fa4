"""The API as a process."""

import errno
import logging
import resource
import signal
import socket
from typing import Final

import structlog
import uvicorn
from fastapi import FastAPI

from ingest.app import create_app, quick
from ingest.runtime import Runtime
from laneway import tracing
from laneway.registry import Registry
from schemas.errors import ConfigurationError
from schemas.settings import Settings

log = structlog.get_logger(__name__)

_STOP_SECONDS: Final = 10
_BACKLOG: Final = 2048
_OPEN_FILES: Final = 65_536


class _Server(uvicorn.Server):
    """uvicorn's, which tells those who wait for a task before it waits for them."""

    def __init__(self, config: uvicorn.Config, runtime: Runtime) -> None:
        super().__init__(config)
        self._runtime = runtime

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._runtime.release()
        await super().shutdown(sockets)


def serve(settings: Settings, registry: Registry, imports: tuple[str, ...] = ()) -> int:
    """Run the API until SIGTERM or SIGINT.

    Args:
        settings: of the process.
        registry: of the types.
        imports: modules with handlers of the user's.

    Blocking: until it is stopped; requests under way are answered and what was sent is acknowledged first.

    Returns:
        0 after an orderly stop, 1 when it could not start.

    Raises:
        ConfigurationError: a port that is taken, no cluster set, topics that are not what is needed, or no way to send
            the traces that are wanted.
    """
    _allow_connections()
    tracing.start("laneway-api")
    app = create_app(settings, registry, imports)
    try:
        with _listen(settings.api.host, settings.api.port) as listener:
            return _run(app, listener)
    finally:
        tracing.stop()


def _run(app: FastAPI, listener: socket.socket) -> int:
    runtime: Runtime = app.state.runtime
    config = uvicorn.Config(
        quick(app),
        loop="uvloop",
        http="httptools",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # nothing here asks who the client is
        timeout_graceful_shutdown=_STOP_SECONDS,
    )
    # uvicorn's own lines repeat what we log; its errors stay.
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    server = _Server(config, runtime)

    def stop() -> None:
        server.should_exit = True

    runtime.on_fatal = stop
    # uvicorn sends itself the signal once more after an orderly stop; that one must not end us with a code of its own.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _signal, _frame: None)
    host, port = listener.getsockname()[:2]
    log.info("API listens", address=f"http://{f'[{host}]' if ':' in host else host}:{port}")
    server.run(sockets=[listener])
    if runtime.fatal is not None:
        raise runtime.fatal
    log.info("API stopped")
    return 0 if server.started else 1


def _allow_connections() -> None:
    """Take as many open files as the system lets us have: each stream and each client that waits is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(_OPEN_FILES, hard)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _listen(host: str, port: int) -> socket.socket:
    """A listening socket, bound before anything is started.

    Raises:
        ConfigurationError: the port is taken or not ours to take, or there is no such address.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror as error:
        raise ConfigurationError("--host", host, f"an address of this machine ({error.strerror})") from error
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRNOTAVAIL:
            raise ConfigurationError("--host", host, "an address of this machine") from error
        reason = "already in use" if error.errno == errno.EADDRINUSE else error.strerror
        raise ConfigurationError("--port", port, f"a free port: this one is {reason}; choose another") from error
    return listener
