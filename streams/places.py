"""Who may start in a pool that the handlers of several types share. Pure."""

from collections.abc import Callable
from typing import Any

from streams.attempt import Attempt
from streams.scheduler import Room


class Places:
    """As many places as a pool has for all, and one more for ``high``.

    Ordering: what is started finds a place at once, so nothing waits where priorities do not count. A type that was
        refused is told in its turn.

    Args:
        count: places for all.
        on_room: called with a type that was refused, once a place is free.
    """

    def __init__(self, count: int, on_room: Callable[[str], None]) -> None:
        self._count = count
        self._on_room = on_room
        self._taken: set[Attempt[Any]] = set()
        self._others = 0
        self._refused: dict[str, None] = {}

    def room(self, type_name: str) -> Room:
        """For whom of a type there is a place."""
        if len(self._taken) <= self._count and self._others < self._count:
            return Room.ANY
        self._refused[type_name] = None
        return Room.HIGH if len(self._taken) <= self._count else Room.NONE

    def take(self, attempt: Attempt[Any]) -> None:
        """An attempt is started."""
        self._taken.add(attempt)
        self._others += not attempt.urgent

    def free(self, attempt: Attempt[Any]) -> None:
        """Its place is free again; nothing happens when it is already."""
        if attempt not in self._taken:
            return
        self._taken.discard(attempt)
        self._others -= not attempt.urgent
        refused, self._refused = self._refused, {}
        served = []
        for type_name in refused:
            taken = len(self._taken)
            self._on_room(type_name)
            if len(self._taken) > taken and type_name in self._refused:
                served.append(type_name)
        for type_name in served:  # behind those that got nothing
            self._refused[type_name] = self._refused.pop(type_name)
