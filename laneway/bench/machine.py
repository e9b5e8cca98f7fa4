"""What Linux tells of processes and of the machine: CPU time, memory, load. Elsewhere these figures stay out."""

import os
import platform
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final, NamedTuple

PROC: Final = Path("/proc")
_TICKS: Final = os.sysconf("SC_CLK_TCK")
# Of /proc/PID/stat, counted from the state, which follows the name in brackets.
_PARENT: Final = 1
_USED: Final = slice(11, 15)
_IDLE: Final = slice(3, 5)


class _Process(NamedTuple):
    parent: int
    cpu: float
    """Seconds of CPU of itself and of its children that have ended."""


class Memory(NamedTuple):
    """Resident memory of some processes, in MB."""

    rss_mb: float
    pss_mb: float
    """Shared pages counted once over all who share them."""
    processes: int


def _processes() -> dict[int, _Process]:
    found: dict[int, _Process] = {}
    for entry in PROC.glob("[0-9]*"):
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:  # it ended meanwhile
            continue
        found[int(entry.name)] = _Process(int(fields[_PARENT]), sum(map(int, fields[_USED])) / _TICKS)
    return found


def tree(root: int) -> list[int]:
    """A process and everything that it started, directly or not."""
    parents = {pid: process.parent for pid, process in _processes().items()}
    members = [root] if root in parents else []
    for member in members:  # grows while it is walked
        members += [pid for pid, parent in parents.items() if parent == member]
    return members


def command(pid: int) -> str:
    """The command line of a process; empty when it is gone."""
    try:
        return (PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def memory(pids: Iterable[int]) -> Memory:
    """Memory of these processes together."""
    rss = pss = count = 0
    for pid in pids:
        try:
            lines = (PROC / str(pid) / "smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        count += 1
        for line in lines:
            name, _, value = line.partition(":")
            if name == "Rss":
                rss += int(value.split()[0])
            elif name == "Pss":
                pss += int(value.split()[0])
    return Memory(round(rss / 1024, 1), round(pss / 1024, 1), count)


def _machine_cpu() -> tuple[float, float]:
    """Seconds that all cores together were busy, and idle, since the machine started."""
    try:
        fields = [int(part) for part in (PROC / "stat").read_text().partition("\n")[0].split()[1:9]]
    except OSError:
        return 0.0, 0.0
    idle = sum(fields[_IDLE])
    return (sum(fields) - idle) / _TICKS, idle / _TICKS


def busy_percent(seconds: float = 1.0) -> float | None:
    """How busy the machine is over the next ``seconds``, in percent of all cores.

    Blocking: that long.
    """
    busy, idle = _machine_cpu()
    time.sleep(seconds)
    busy_after, idle_after = _machine_cpu()
    total = busy_after - busy + idle_after - idle
    return round(100 * (busy_after - busy) / total, 1) if total else None


class CpuMeter:
    """CPU time that groups of processes use from now on.

    Args:
        groups: process ids by the name under which they are told.
    """

    def __init__(self, groups: Mapping[str, Iterable[int]]) -> None:
        self._groups = {name: list(pids) for name, pids in groups.items()}
        self._began = time.monotonic()
        self._machine = _machine_cpu()[0]
        self._before = self._used()

    def _used(self) -> dict[str, float]:
        processes = _processes()
        return {
            name: sum(processes[pid].cpu for pid in pids if pid in processes) for name, pids in self._groups.items()
        }

    def seconds(self) -> dict[str, float]:
        """Seconds of CPU by group so far."""
        return {name: max(0.0, used - self._before[name]) for name, used in self._used().items()}

    def foreign_percent(self) -> float | None:
        """What everybody else used, in percent of all cores."""
        everything = _machine_cpu()[0] - self._machine
        elapsed = time.monotonic() - self._began
        cores = os.cpu_count() or 1
        if not everything or not elapsed:
            return None
        return round(max(0.0, 100 * (everything - sum(self.seconds().values())) / elapsed / cores), 1)


def description() -> dict[str, object]:
    """The machine, as far as a figure depends on it."""
    model = platform.processor() or platform.machine()
    try:
        told = (PROC / "cpuinfo").read_text()
        model = next((line.partition(":")[2].strip() for line in told.splitlines() if "model name" in line), model)
        kilobytes = int((PROC / "meminfo").read_text().split()[1])
    except OSError:
        kilobytes = 0
    return {
        "cores": os.cpu_count(),
        "cpu": model,
        "memory_mb": kilobytes // 1024 or None,
        "system": platform.platform(),
        "python": platform.python_version(),
    }
