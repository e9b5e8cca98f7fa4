"""Keys of a terminal, one at a time."""

import os
import select
import sys
import time
from types import TracebackType
from typing import Any, Self


class Keys:
    """Hears single keys while it is entered; the terminal is as before once it is left.

    Where standard input is no terminal nothing is heard.
    """

    def __init__(self) -> None:
        self._before: list[Any] | None = None

    def __enter__(self) -> Self:
        if sys.stdin.isatty():
            import termios
            import tty

            self._before = termios.tcgetattr(sys.stdin)
            # Ctrl-C still interrupts.
            tty.setcbreak(sys.stdin)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._before is not None:
            import termios

            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, self._before)

    def pressed(self, within: float) -> str | None:
        """The key that is pressed within so many seconds, if one is; an arrow, which sends several, is none."""
        if self._before is None:
            time.sleep(within)
            return None
        if not select.select([sys.stdin], [], [], within)[0]:
            return None
        sent = os.read(sys.stdin.fileno(), 32)
        # A terminal that is gone reads as ended for ever.
        return "q" if not sent else sent.decode(errors="replace") if len(sent) == 1 else None
