"""What a program asks of the machine that it runs on."""

import os
from pathlib import Path
from typing import Final

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


def boot_id() -> str:
    """Names this start of the machine; empty where the system does not tell."""
    try:
        return _BOOT_ID.read_text("ascii").strip()
    except OSError:
        return ""


def open_file(path: Path) -> str:
    """Names the file at a path among all of this machine, as long as it exists; empty unless this process has it open.

    Whoever holds a lock has its file open: a copy of it, or another file in its place, has another name.
    """
    try:
        found = path.stat()
        ours = any(_is(descriptor.name, found) for descriptor in Path("/dev/fd").iterdir())
    except OSError:
        return ""
    return f"{found.st_dev}:{found.st_ino}" if ours else ""


def _is(descriptor: str, found: os.stat_result) -> bool:
    try:
        return os.path.samestat(os.fstat(int(descriptor)), found)
    except OSError:
        return False  # the descriptor that the list was read from
