"""What tests ask the operating system about processes that they started."""

import os
import subprocess
from pathlib import Path


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and was not yet collected does not."""
    return _column(pid, "stat")[:1] not in ("", "Z", "X")


def parent_of(pid: int) -> int:
    """Process id of the parent of a process that runs."""
    return int(_column(pid, "ppid"))


def _column(pid: int, name: str) -> str:
    if Path("/proc/self/stat").exists():
        try:
            # The name in parentheses may hold anything; what follows is split by spaces: state, parent, …
            after_name = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(") ")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return ""
        return after_name[{"stat": 0, "ppid": 1}[name]]
    asked = subprocess.run(["ps", "-o", f"{name}=", "-p", str(pid)], capture_output=True, text=True, env=os.environ)
    return asked.stdout.strip()
