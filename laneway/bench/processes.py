"""Child processes of the benchmark: started by their public commands, heard through their logs, ended by their ids."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from laneway.bench.machine import tree
from schemas.errors import BenchmarkError

STOP_WITHIN: Final = 40.0
_LOOKED_AT_EVERY: Final = 0.02
_LAST_LINES: Final = 15


class Part:
    """One process of the system under measurement.

    It leads a process group of its own and ends with this process, even when this one is killed (``laneway.parent``).
    Unlike in ``laneway up`` it isn't started again when it dies: a figure with a restart in it is none.

    Args:
        name: what it is called in reports.
        arguments: of the command ``laneway``.
        environment: all of it.
        log: where everything it writes is kept.
    """

    def __init__(self, name: str, arguments: Sequence[str], *, environment: dict[str, str], log: Path) -> None:
        self.name = name
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "laneway.parent", "laneway.cli", *arguments],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                process_group=0,  # not a session: see laneway.stack.children
            )

    def pids(self) -> list[int]:
        """It and everything it started."""
        return tree(self.process.pid)

    def said(self, text: str) -> str | None:
        """The first line of its log that holds ``text``."""
        return next((line for line in self.log.read_text("utf-8", errors="replace").splitlines() if text in line), None)

    def require_alive(self) -> None:
        """Raise if it ended.

        Raises:
            BenchmarkError: with its last words.
        """
        code = self.process.poll()
        if code is not None:
            last = "\n".join(self.log.read_text("utf-8", errors="replace").splitlines()[-_LAST_LINES:])
            raise BenchmarkError(f"{self.name} ended with {code}; its log {self.log} ends with:\n{last}")

    def until(self, claim: Callable[[], bool], what: str, within: float) -> None:
        """Wait until ``claim`` holds, as long as the process lives.

        Raises:
            BenchmarkError: it ended, or the time is up.
        """
        deadline = time.monotonic() + within
        while not claim():
            self.require_alive()
            if time.monotonic() > deadline:
                raise BenchmarkError(f"{self.name}: {what} not within {within:g} s; see its log {self.log}")
            time.sleep(_LOOKED_AT_EVERY)

    def request_stop(self) -> None:
        """Have it stop in order; returns at once."""
        if self.process.poll() is None:
            self.process.terminate()

    def stop(self, within: float = STOP_WITHIN) -> None:
        """Stop it: in order, and by force with everything it started once ``within`` seconds are over."""
        left = self.pids()
        self.request_stop()
        try:
            self.process.wait(within)
        except subprocess.TimeoutExpired:
            for pid in reversed(left):
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            self.process.wait()
        if self.process.stdin is not None:
            self.process.stdin.close()


def stop_all(parts: Sequence[Part]) -> None:
    """Stop some parts at once."""
    for part in parts:
        part.request_stop()
    for part in parts:
        part.stop()
