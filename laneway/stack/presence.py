"""What others on this machine can know of a running stack."""

import contextlib
import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import msgspec

from laneway.kafka.embedded.locking import acquire
from schemas.errors import ConfigurationError

LOCK_FILE: Final = "stack.lock"
STATE_FILE: Final = "stack.json"

# Whoever asks whether a stack runs holds the lock for an instant; that must not look like a second stack.
_WITHIN: Final = timedelta(seconds=1)


class StackState(msgspec.Struct, frozen=True):
    """What a running stack tells of itself."""

    pid: int
    settings: dict[str, Any] = {}
    """What it decided, by dotted name; empty until it is ready."""


@contextlib.contextmanager
def sole_stack(data_dir: Path) -> Iterator[None]:
    """Be the only stack of a data directory during the body.

    Raises:
        ConfigurationError: another one runs there.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    lock = acquire(data_dir / LOCK_FILE, _WITHIN)
    if lock is None:
        state = _state(data_dir)
        who = f"in use by `laneway up`, process {state.pid}" if state else "in use by another `laneway up`"
        raise ConfigurationError("--data-dir", who, f"a directory of its own, or the other one stopped ({data_dir})")
    try:
        tell(data_dir, {})
        yield
    finally:
        (data_dir / STATE_FILE).unlink(missing_ok=True)
        os.close(lock)


def tell(data_dir: Path, settings: dict[str, Any]) -> None:
    """Let others know what this stack decided."""
    unfinished = data_dir / f"{STATE_FILE}.tmp"
    unfinished.write_bytes(msgspec.json.encode(StackState(os.getpid(), settings), enc_hook=str))
    unfinished.replace(data_dir / STATE_FILE)


def settings_of_running_stack(data_dir: Path) -> dict[str, Any]:
    """What the stack that runs in a data directory decided, by dotted name; empty when none runs there."""
    state = _state(data_dir)
    if state is None or not (data_dir / LOCK_FILE).exists():
        return {}
    lock = acquire(data_dir / LOCK_FILE)
    if lock is None:
        return state.settings
    os.close(lock)
    return {}


def _state(data_dir: Path) -> StackState | None:
    try:
        return msgspec.json.decode((data_dir / STATE_FILE).read_bytes(), type=StackState)
    except (OSError, msgspec.DecodeError):
        return None
