"""The system as a user starts it: ``laneway`` as a process, its output, its process tree."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex
from typing import Any, Final

import msgspec

from tests.support.kafka import read_all
from tests.support.processes import is_alive
from tests.support.waiting import eventually

LANEWAY: Final = Path(sys.executable).with_name("laneway")
STARTED_WITHIN: Final = 180.0
"""Includes fetching Kafka on a fresh machine."""
STOPPED_WITHIN: Final = 45.0


def laneway(
    *arguments: str,
    cwd: Path,
    environment: Mapping[str, str] | None = None,
    stdin: str | None = None,
    within: float = 60,
) -> subprocess.CompletedProcess[str]:
    """Run one command of ``laneway`` to its end."""
    return subprocess.run(
        [LANEWAY, *arguments],
        cwd=cwd,
        env={**os.environ, **(environment or {})},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=within,
    )


def descendants(pid: int) -> dict[int, str]:
    """Every process below ``pid``, with its command line."""
    listed = subprocess.run(
        ["ps", "-axww", "-o", "pid=,ppid=,args="], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    rows = [line.split(None, 2) for line in listed]
    commands = {int(row[0]): row[2] if len(row) > 2 else "" for row in rows}
    parents = {int(row[0]): int(row[1]) for row in rows}
    found: dict[int, str] = {}
    level = {pid}
    while level:
        level = {child for child, parent in parents.items() if parent in level}
        found.update({child: commands[child] for child in level})
    return found


class RunningStack:
    """``laneway up`` as a process of its own, in a folder of its own."""

    def __init__(self, folder: Path, *options: str, prefix: str | None = None) -> None:
        self.folder = folder
        self.data_dir = folder / "data"
        self._output = folder / "up.out"
        self._environment = {
            "LANEWAY_DATA_DIR": str(self.data_dir),
            # Of use only where the settings name a cluster that others share.
            "LANEWAY_KAFKA__TOPIC_PREFIX": prefix or f"e{token_hex(5)}.",
            "LANEWAY_WORKER__METRICS_PORT": "0",
        }
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(
                [LANEWAY, "up", "--port", "0", "--kafka-port", "0", *options],
                cwd=folder,
                env={**os.environ, **self._environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def output(self) -> str:
        """Everything that it wrote so far."""
        return self._output.read_text("utf-8")

    @property
    def url(self) -> str:
        """Address of its API."""
        found = re.search(r"Dashboard +(http://\S+?)/\n", self.output)
        assert found, self.output
        return found[1]

    def values(self, topic: str) -> list[bytes]:
        """Value of every record of a topic, named without its prefix."""
        found = re.search(r"Kafka {6}(\S+)", self.output)
        assert found, self.output
        records = read_all(found[1], self._environment["LANEWAY_KAFKA__TOPIC_PREFIX"] + topic)
        return [record.value for record in records if record.value is not None]

    def tree(self) -> dict[int, str]:
        """Its processes, itself not included, with their command lines."""
        return descendants(self.process.pid)

    def run(self, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command of ``laneway`` in another terminal, so to speak."""
        return laneway(*arguments, cwd=self.folder, environment=self._environment, stdin=stdin)

    def run_json(self, *arguments: str) -> Any:
        """Run a command that must succeed with ``--json``, and read what it printed."""
        done = self.run(*arguments, "--json")
        assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}\n{self.output}"
        return msgspec.json.decode(done.stdout)

    async def says(self, text: str, *, within: float = STARTED_WITHIN) -> None:
        """Wait until its output holds ``text``."""

        def said() -> bool:
            if text not in self.output and self.process.poll() is not None:
                raise RuntimeError(f"`laneway up` ended with {self.process.returncode}:\n{self.output}")
            return text in self.output

        await eventually(said, within=within, what=f"{text!r} in the output")

    def interrupt(self) -> int:
        """Press Ctrl-C; answers the exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(STOPPED_WITHIN)

    def end(self) -> None:
        """Whatever happened, leave nothing behind."""
        if self.process.poll() is not None:
            return
        left = self.tree()
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOPPED_WITHIN)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            for pid in filter(is_alive, left):
                os.kill(pid, signal.SIGKILL)


@contextmanager
def running_stack(folder: Path, *options: str, prefix: str | None = None) -> Iterator[RunningStack]:
    """A stack that was started, and is gone after the block.

    Args:
        folder: where it lies, with its data.
        options: of ``laneway up``.
        prefix: of its topics; one of its own, unless it is to find those of a stack before it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stack = RunningStack(folder, *options, prefix=prefix)
    try:
        yield stack
    finally:
        stack.end()
