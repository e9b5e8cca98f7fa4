"""How many dead letters a lane may make before it is held. Pure: the clock is given."""

from collections import deque
from typing import Final

WINDOW: Final = 60.0
"""Seconds that are looked at."""
_STEP: Final = 1.0


class DeadLetterBudget:
    """Counts how the tasks of one lane end.

    It is used up when more than ``most`` of them became dead letters within ``WINDOW``, and they are more than half of
    all that ended: a bad deploy, not a bad day.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._steps: deque[list[float]] = deque()
        """For each second: when it began, how many ended, how many of them as dead letters."""
        self.ended = 0
        """Within the window."""
        self.dead = 0
        """Of them, dead letters."""

    def count(self, now: float, *, dead: bool) -> bool:
        """Take note of an end; says whether the budget is used up with it. It begins anew then."""
        self._forget(now)
        if not self._steps or now - self._steps[-1][0] >= _STEP:
            self._steps.append([now, 0, 0])
        self._steps[-1][1] += 1
        self.ended += 1
        if not dead:
            return False
        self._steps[-1][2] += 1
        self.dead += 1
        return self.dead > self._most and self.dead * 2 > self.ended

    def renew(self) -> None:
        """Begin anew: the lane was held."""
        self._steps.clear()
        self.ended = self.dead = 0

    def _forget(self, now: float) -> None:
        while self._steps and now - self._steps[0][0] > WINDOW:
            _, ended, dead = self._steps.popleft()
            self.ended -= int(ended)
            self.dead -= int(dead)
