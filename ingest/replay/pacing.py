"""How fast a job goes."""

import time
from collections.abc import Callable
from typing import Final

_STEP: Final = 0.05
"""Seconds between two chunks."""
_MADE_UP: Final = 0.5
"""Seconds of a delay that are made up for; what was lost beyond is not followed by a burst."""


class Pace:
    """Spreads tasks evenly.

    Args:
        rate: tasks a second; 0 for no bound.
        clock: monotonic seconds.
    """

    def __init__(self, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._clock = clock
        self._next = clock()

    def chunk(self, most: int) -> int:
        """How many tasks go together."""
        return most if not self._rate else max(1, min(most, int(self._rate * _STEP)))

    def take(self, count: int) -> float:
        """Take the turn of ``count`` tasks; answers in how many seconds it comes."""
        if not self._rate:
            return 0.0
        now = self._clock()
        at = max(self._next, now - _MADE_UP)
        self._next = at + count / self._rate
        return max(0.0, at - now)
