"""A program in a terminal of its own, as somebody sees it and types at it."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_FRAME: Final = "\x1b[H"
"""Where a program that fills the screen begins to draw it again."""
_SEQUENCE: Final = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """A program and the other end of its terminal."""

    def __init__(self, process: "subprocess.Popen[bytes]", ours: int, theirs: int) -> None:
        self.process = process
        self._ours = ours
        self._theirs = theirs
        self._said = ""

    @property
    def said(self) -> str:
        """Everything that it wrote so far, control sequences included."""
        while True:
            try:
                read = os.read(self._ours, 65_536)
            except BlockingIOError:
                return self._said
            self._said += read.decode(errors="replace")

    @property
    def screen(self) -> str:
        """What it drew last, in full, as text."""
        frames = self.said.split(_FRAME)
        # The last one may not be whole yet.
        return _SEQUENCE.sub("", frames[-2] if len(frames) > 1 else "")

    def press(self, key: str) -> None:
        """Press a key."""
        os.write(self._ours, key.encode())

    def modes(self) -> list[object]:
        """How the terminal is set."""
        return termios.tcgetattr(self._theirs)


@contextmanager
def terminal(command: Sequence[str | Path], *, columns: int = 100, lines: int = 30) -> Iterator[Terminal]:
    """``command`` in a terminal of this size; it is gone after the block."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    os.set_blocking(ours, False)
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
    process = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env={**environment, "TERM": "xterm-256color"}
    )
    try:
        yield Terminal(process, ours, theirs)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        os.close(ours)
        os.close(theirs)
