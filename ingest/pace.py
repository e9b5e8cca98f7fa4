"""How fast the workers of each lane get on, from how far they were before. No I/O."""

from collections import deque
from typing import Final

from schemas.task import Lane

_SPAN: Final = 60.0
"""Seconds that a rate looks back."""
_APART: Final = 1.0
"""Seconds between two looks that are kept: workers commit about that often."""


class Pace:
    """Records a second that lanes' workers got done with, over the last minute.

    It knows what it is told, so it begins with the second time that somebody asks. Bounded: 61 looks at each lane.
    """

    def __init__(self) -> None:
        self._looks: dict[Lane, deque[tuple[float, int]]] = {}

    def rate(self, lane: Lane, done: int, now: float) -> float | None:
        """Records a second, or ``None`` where nothing is known from up to a minute before.

        Args:
            lane: whose.
            done: how far its workers are.
            now: seconds of a clock that never goes back.
        """
        looks = self._looks.setdefault(lane, deque())
        while looks and now - looks[0][0] > _SPAN:
            looks.popleft()
        if looks and done < looks[-1][1]:
            looks.clear()  # another topic of this name, or a group that was set back
        first = looks[0] if looks else None
        if not looks or now - looks[-1][0] >= _APART:
            looks.append((now, done))
        if first is None or now - first[0] < _APART:
            return None
        return (done - first[1]) / (now - first[0])
