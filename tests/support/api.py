"""The API as a process."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from schemas.settings import Settings, environment_for
from tests.support.kafka import apply_topics
from tests.support.source_tree import ROOT
from tests.support.waiting import eventually

TYPES = ("chat", "data", "email", "file")


class RunningApi:
    """An API process with the built-in types, and those of a module."""

    def __init__(self, settings: Settings, log: Path, types: tuple[str, ...], module: str | None) -> None:
        apply_topics(settings, (*TYPES, *types))
        self.port = settings.api.port or free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "laneway.cli", "api", "--port", str(self.port)),
                    *(() if module is None else ("--import", module)),
                ],
                cwd=ROOT,
                env={**environment_for(settings), "PYTHONPATH": str(ROOT)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    async def ready(self) -> None:
        """Wait until the broker answers and the view has caught up."""

        async def answers() -> bool:
            try:
                async with httpx.AsyncClient() as client:
                    return (await client.get(f"{self.address}/readyz", timeout=5)).status_code == httpx.codes.OK
            except httpx.TransportError:
                return False

        await eventually(answers, within=60, what="a ready API")

    def kill(self) -> None:
        """End it without warning."""
        self.process.kill()
        self.process.wait(10)

    def stop(self) -> int:
        """End it in order."""
        self.process.terminate()
        return self.process.wait(30)


@contextmanager
def running_api(settings: Settings, log: Path, *types: str, module: str | None = None) -> Iterator[RunningApi]:
    """An API for as long as the block runs, with ``types`` of ``module`` besides the built-in ones."""
    api = RunningApi(settings, log, types, module)
    try:
        yield api
    finally:
        if api.process.poll() is None:
            api.stop()


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
