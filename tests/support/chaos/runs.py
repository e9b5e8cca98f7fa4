"""The ledger of runs: what handlers say of themselves, in a file that several processes append to."""

import os
import time
from pathlib import Path
from typing import Final, Literal, NamedTuple

from laneway.context import Context

Mark = Literal["start", "end"]
_WIDTH: Final = 7


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


def note(path: str, mark: Mark, context: Context, number: int) -> None:
    """Append a line.

    Delivery: whole even when several processes write and one of them is killed: one write in append mode. It survives
        the process, not the machine.
    """
    fields = (mark, context.task_id, context.generation, context.attempt, os.getpid(), time.time_ns(), number)
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
        found.append(
            Run(mark, parts[1], int(parts[2]), int(parts[3]), int(parts[4]), int(parts[5]) / 1e9, int(parts[6]))
        )
    return found
