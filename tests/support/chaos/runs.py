"""The ledger of runs: what handlers say of themselves, in a file that several processes append to."""

import multiprocessing
import os
import time
from pathlib import Path
from typing import Final, Literal, NamedTuple

from laneway.context import Context

Mark = Literal["start", "end"]
_WIDTH: Final = 8


class Run(NamedTuple):
    """One line: a handler began, or came to its end."""

    mark: Mark
    task_id: str
    generation: int
    attempt: int
    pid: int
    at: float
    """Seconds since the epoch."""
    number: int
    """Which submission of the producer asked for it."""
    worker: int
    """The worker process, which a handler process of its own dies with; mostly ``pid`` itself."""

    @property
    def pids(self) -> set[int]:
        """Whose death ends it."""
        return {self.pid, self.worker}


def note(path: str, mark: Mark, context: Context, number: int) -> None:
    """Append a line.

    Delivery: whole even when several processes write and one of them is killed: one write in append mode. It survives
        the process, not the machine.
    """
    parent = multiprocessing.parent_process()
    pids = os.getpid(), parent.pid if parent is not None else os.getpid()
    fields = (mark, context.task_id, context.generation, context.attempt, pids[0], time.time_ns(), number, pids[1])
    descriptor = os.open(path, os.O_APPEND | os.O_CREAT | os.O_WRONLY, 0o644)
    try:
        os.write(descriptor, (" ".join(map(str, fields)) + "\n").encode())
    finally:
        os.close(descriptor)


def take_effect(folder: str, context: Context) -> bool:
    """Do the side effect once for all runs of the task, by its idempotency key; answers whether this run did it."""
    try:
        os.close(os.open(Path(folder) / context.idempotency_key, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
    except FileExistsError:
        return False
    return True


def read_runs(path: Path) -> list[Run]:
    """Every line so far, in the order of the file."""
    if not path.exists():
        return []
    found = []
    for line in path.read_text("ascii").splitlines():
        parts = line.split()
        if len(parts) != _WIDTH:  # the writer is in the middle of it
            continue
        mark: Mark = "start" if parts[0] == "start" else "end"
        generation, attempt, pid, at, number, worker = map(int, parts[2:])
        found.append(Run(mark, parts[1], generation, attempt, pid, at / 1e9, number, worker))
    return found
