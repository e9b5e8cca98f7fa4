"""Workers and APIs as processes that faults strike: killed, frozen, stopped, each by process id."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import httpx

from schemas.settings import Settings, environment_for
from tests.support.api import free_port
from tests.support.chaos.faults import Fault, FaultLog
from tests.support.processes import is_alive
from tests.support.source_tree import ROOT
from tests.support.stacks import descendants
from tests.support.waiting import eventually

HANDLERS: Final = "tests.support.chaos.handlers"
_STARTED_WITHIN: Final = 60.0
_STOPPED_WITHIN: Final = 60.0


class StruckProcess:
    """A process of Laneway with everything below it.

    Args:
        kind: ``worker`` or ``api``; names its faults.
        arguments: of ``laneway``.
        settings: that it reads.
        log: its output.
        faults: where its faults are noted.
    """

    def __init__(self, kind: str, arguments: Sequence[str], settings: Settings, log: Path, faults: FaultLog) -> None:
        self.kind = kind
        self.settings = settings
        self.log = log
        self._faults = faults
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "laneway.cli", *arguments],
                cwd=ROOT,
                env={**environment_for(settings), "PYTHONPATH": str(ROOT)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self.process.poll() is None

    def require_running(self) -> None:
        """Raises RuntimeError: it has ended by itself."""
        if not self.running:
            raise RuntimeError(f"the {self.kind} ended with {self.process.returncode}:\n{self.output[-3_000:]}")

    @property
    def output(self) -> str:
        """Everything that it wrote so far."""
        return self.log.read_text("utf-8", errors="replace")

    def tree(self) -> dict[int, str]:
        """Process id and command line of all that belongs to it, itself first."""
        return {self.process.pid: f"laneway {self.kind}", **descendants(self.process.pid)} if self.running else {}

    def children(self, word: str) -> list[int]:
        """Processes below it that have ``word`` in their command line."""
        return [pid for pid, command in self.tree().items() if word in command and pid != self.process.pid]

    def kill(self) -> Fault:
        """End it and all below it without warning."""
        tree = list(self.tree())
        self.require_running()
        for pid in tree:
            _signal(pid, signal.SIGKILL)
        self.process.wait(20)
        return self._faults.fired(f"{self.kind}_sigkill", tree)

    def kill_child(self, word: str) -> int:
        """End one process below it that has ``word`` in its command line; answers its id."""
        pid = self.children(word)[0]
        below = [pid, *descendants(pid)]
        for one in below:
            _signal(one, signal.SIGKILL)
        self._faults.fired(f"{self.kind}_child_sigkill", below)
        return pid

    @contextmanager
    def frozen(self) -> Iterator[Fault]:
        """Stop it and all below it in their tracks (SIGSTOP) for as long as the block runs."""
        tree = list(self.tree())
        self.require_running()
        with self._faults.lasting(f"{self.kind}_sigstop", tree) as fault:
            for pid in tree:
                _signal(pid, signal.SIGSTOP)
            try:
                yield fault
            finally:
                for pid in reversed(tree):
                    _signal(pid, signal.SIGCONT)

    def stop(self) -> float:
        """End it in order (SIGTERM); answers after how many seconds it had ended, and requires exit code 0."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(_STOPPED_WITHIN)
        assert code == 0, f"the {self.kind} ended with {code}:\n{self.output[-3_000:]}"
        self._faults.fired(f"{self.kind}_sigterm")
        return time.monotonic() - began

    def end(self) -> None:
        """Whatever happened, leave nothing behind."""
        if not self.running:
            return
        tree = list(self.tree())
        for pid in tree:
            _signal(pid, signal.SIGCONT)
        self.process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(_STOPPED_WITHIN)
        for pid in filter(is_alive, tree):
            _signal(pid, signal.SIGKILL)
        self.process.wait(20)


class StruckWorker(StruckProcess):
    """A worker of the fault scenarios' task types."""

    def __init__(
        self, settings: Settings, log: Path, faults: FaultLog, types: Sequence[str], concurrency: int | None = None
    ) -> None:
        arguments = ["worker", "--types", ",".join(types), "--import", HANDLERS]
        if concurrency is not None:
            arguments += ["--concurrency", str(concurrency)]
        super().__init__("worker", arguments, settings, log, faults)

    async def ready(self) -> None:
        """Wait until its lanes are consumed."""

        def said() -> bool:
            self.require_running()
            return "worker ready" in self.output

        await eventually(said, within=_STARTED_WITHIN, what="a ready worker")


class StruckApi(StruckProcess):
    """An API of the fault scenarios' task types."""

    def __init__(self, settings: Settings, log: Path, faults: FaultLog) -> None:
        self.port = settings.api.port or free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        super().__init__("api", ["api", "--port", str(self.port), "--import", HANDLERS], settings, log, faults)

    async def ready(self, within: float = _STARTED_WITHIN) -> None:
        """Wait until the broker answers and the view has caught up."""

        async def answers() -> bool:
            self.require_running()
            try:
                async with httpx.AsyncClient() as client:
                    return (await client.get(f"{self.address}/readyz", timeout=5)).status_code == httpx.codes.OK
            except httpx.TransportError:
                return False

        await eventually(answers, within=within, what="a ready API")


def with_crash_point(settings: Settings, point: str) -> Settings:
    """The same settings for a process that dies at ``point``."""
    return settings.model_copy(update={"crash_at": point})


def crash_mark(settings: Settings, point: str) -> Path:
    """The file that a process leaves when it dies at ``point``."""
    return settings.data_dir / f"crashed-at-{point.partition(':')[0]}"


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
