"""Receivers that let their callers wait: one slot at a time, so that they hold up nobody else's callbacks."""

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Final

from schemas.errors import RetryLater

REMEMBERED_FOR: Final = 60.0
"""Seconds after a time-out for which a receiver counts as slow, unless it answers meanwhile."""
MOST: Final = 10_000
"""Receivers remembered; above it those are dropped that are slow no more."""
_WAIT: Final = (30.0, 120.0)


class SlowReceivers:
    """Which receivers have timed out lately, as one process saw it. Belongs to one thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._asked: Counter[str] = Counter()
        self._slow_until: dict[str, float] = {}
        self._random = random.Random()  # noqa: S311  (spreads waits, no secret)

    @contextmanager
    def turn(self, receiver: str, *, may_wait: bool) -> Iterator[None]:
        """Ask a receiver for as long as the block runs; a ``TimeoutError`` out of it makes it a slow one.

        Args:
            receiver: host and port.
            may_wait: whether it can be put off; otherwise it is asked in any case.

        Raises:
            RetryLater: it is slow, and being asked already.
        """
        if may_wait and self._asked[receiver] and self._slow_until.get(receiver, 0.0) > self._clock():
            wait = timedelta(seconds=round(self._random.uniform(*_WAIT), 1))
            raise RetryLater(wait, f"{receiver} timed out lately and is asked one at a time")
        self._asked[receiver] += 1
        try:
            yield
        except TimeoutError:
            self._remember(receiver)
            raise
        else:
            self._slow_until.pop(receiver, None)
        finally:
            self._asked[receiver] -= 1
            if not self._asked[receiver]:
                del self._asked[receiver]

    def _remember(self, receiver: str) -> None:
        now = self._clock()
        if len(self._slow_until) >= MOST:
            self._slow_until = {each: until for each, until in self._slow_until.items() if until > now}
        if len(self._slow_until) < MOST:
            self._slow_until[receiver] = now + REMEMBERED_FOR
