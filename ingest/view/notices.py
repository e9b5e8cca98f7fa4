"""How readers of the view learn at once that it changed: a named pipe for each, into which the writer puts a byte."""

import asyncio
import contextlib
import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

_FOLDER: Final = "readers"


class NoticeReader:
    """The reading end, in an API process.

    A notice may be missed, and may come without a change; whoever must know looks by itself from time to time.
    """

    def __init__(self, folder: Path, noticed: Callable[[], None]) -> None:
        self._folder = folder / _FOLDER
        self._noticed = noticed
        self._path: Path | None = None
        self._descriptor = -1

    def open(self) -> None:
        """Begin to listen; where that cannot be, nothing is heard."""
        path = self._folder / f"{os.getpid()}-{os.urandom(4).hex()}"
        unready = path.with_name(f".{path.name}")
        with contextlib.suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            os.mkfifo(unready, 0o600)
            # For writing as well, so that it does not read as ended whenever no writer is there.
            self._descriptor = os.open(unready, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
            # Only now: a pipe that nobody has open yet would be taken for a dead reader's.
            unready.rename(path)
            self._path = path
            asyncio.get_running_loop().add_reader(self._descriptor, self._heard)

    def close(self) -> None:
        """Stop to listen."""
        if self._path is not None:
            asyncio.get_running_loop().remove_reader(self._descriptor)
            self._path.unlink(missing_ok=True)
            self._path = None
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _heard(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._descriptor, 65_536)
        self._noticed()


class NoticeWriter:
    """The writing end, in the materialiser."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / _FOLDER
        self._seen = -1
        self._descriptors: dict[str, int] = {}

    def send(self) -> None:
        """Tell every reader."""
        self._look()
        for name, descriptor in list(self._descriptors.items()):
            try:
                os.write(descriptor, b".")
            except BlockingIOError:
                pass  # it has notices enough that it has not read
            except OSError:
                self._forget(name)

    def close(self) -> None:
        """Let go of the pipes."""
        for name in list(self._descriptors):
            os.close(self._descriptors.pop(name))

    def _look(self) -> None:
        """Find readers that came or went since."""
        try:
            changed = self._folder.stat().st_mtime_ns
        except OSError:
            return
        if changed == self._seen:
            return
        self._seen = changed
        names = {path.name for path in self._folder.iterdir() if not path.name.startswith(".")}
        for name in self._descriptors.keys() - names:
            self._forget(name)
        for name in names - self._descriptors.keys():
            try:
                self._descriptors[name] = os.open(self._folder / name, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            except OSError as error:
                if error.errno == errno.ENXIO:  # nobody has it open: its process was killed
                    (self._folder / name).unlink(missing_ok=True)

    def _forget(self, name: str) -> None:
        os.close(self._descriptors.pop(name))
        (self._folder / name).unlink(missing_ok=True)
