"""Locks between processes: held by whoever has the file open, so the kernel lets go when the last of them dies."""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

POLL_SECONDS = 0.05


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock during the body, waiting for it as long as it takes."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def acquire(path: Path, within: timedelta = timedelta(0)) -> int | None:
    """Take the lock, waiting at most ``within``.

    Returns:
        A descriptor that holds the lock until it and every copy that a child inherited are closed; ``None`` if another
        process kept the lock.
    """
    deadline = time.monotonic() + within.total_seconds()
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(descriptor, path):
                return descriptor
            # Whoever held it before has removed it: the next look makes another file.
        except BlockingIOError:
            if time.monotonic() >= deadline:
                os.close(descriptor)
                return None
        os.close(descriptor)
        time.sleep(POLL_SECONDS)


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
