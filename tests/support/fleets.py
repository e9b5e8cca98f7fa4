"""``laneway worker`` with its worker processes, as the operating system and its log tell of them."""

import os
import re
from pathlib import Path

from tests.support.stacks import descendants
from tests.support.waiting import eventually
from tests.support.workers import RunningWorker


def worker_processes(worker: RunningWorker) -> list[int]:
    """Process ids of the worker processes that the supervisor runs now."""
    return [pid for pid, command in descendants(worker.process.pid).items() if "laneway.cli worker-process" in command]


def stands_back(process: int) -> int:
    """By how many steps of niceness a process lets this one go first."""
    return os.getpriority(os.PRIO_PROCESS, process) - os.getpriority(os.PRIO_PROCESS, 0)


async def says(log: Path, *words: str, times: int = 1, within: float = 60) -> None:
    """Wait until as many lines of a log hold all of these words; colours and padding do not count."""
    await eventually(
        lambda: sum(all(word in line for word in words) for line in lines_of(log)) >= times,
        within=within,
        what=f"{times} line(s) with {words} in {log}",
    )


def lines_of(log: Path) -> list[str]:
    """The lines of a log, without colours."""
    return re.sub(r"\x1b\[[0-9;]*m", "", log.read_text("utf-8", errors="replace")).splitlines()
