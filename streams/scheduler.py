"""Which lane gets the next free slot of a type. Pure: the clock is given, nothing waits here."""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final, Generic, TypeVar

from schemas.task import Priority

Item = TypeVar("Item")

WEIGHTS: Final[Mapping[Priority, int]] = {Priority.HIGH: 8, Priority.NORMAL: 4, Priority.LOW: 2}
AGE_BOUND: Final = timedelta(seconds=10)


@dataclass
class _Lane(Generic[Item]):
    weight: int
    waiting: deque[tuple[float, Item]] = field(default_factory=deque)
    deficit: int = 0


class SlotScheduler(Generic[Item]):
    """Weighted deficit round robin over the lanes of one type, with ageing and a slot kept free for ``high``.

    Ordering: within a lane first come, first served. Between lanes that all have work, slots go out as 8 to 4 to 2.
        A lane without work lends its share. A lane whose head has waited past ``age_bound`` comes first, whatever its
        weight, the longest waiting before the others.
    """

    def __init__(
        self,
        slots: int,
        *,
        clock: Callable[[], float],
        weights: Mapping[Priority, int] = WEIGHTS,
        age_bound: timedelta = AGE_BOUND,
    ) -> None:
        self.slots = slots
        self._clock = clock
        self._age_bound = age_bound.total_seconds()
        self._lanes: dict[Priority, _Lane[Item]] = {priority: _Lane(weights[priority]) for priority in Priority}
        self._running: dict[Priority, int] = dict.fromkeys(Priority, 0)
        self.running = 0

    def waiting(self, priority: Priority) -> int:
        """How many wait in a lane."""
        return len(self._lanes[priority].waiting)

    def add(self, priority: Priority, item: Item) -> None:
        """Let ``item`` wait for a slot."""
        lane = self._lanes[priority]
        if not lane.waiting:
            lane.deficit = lane.weight
        lane.waiting.append((self._clock(), item))

    def discard(self, priority: Priority, unwanted: Callable[[Item], bool]) -> None:
        """Forget those that wait and are ``unwanted``: their partition went to another worker."""
        lane = self._lanes[priority]
        lane.waiting = deque(entry for entry in lane.waiting if not unwanted(entry[1]))

    def take(self) -> Item | None:
        """Give a free slot to the one whose turn it is; ``None`` when no slot or nobody is there."""
        if self.running >= self.slots:
            return None
        # The last free slot is for `high` alone, so that a burst of it never waits for a slot to turn over.
        kept = self.slots > 1 and self.running - self._running[Priority.HIGH] >= self.slots - 1
        ready = [
            (priority, lane)
            for priority, lane in self._lanes.items()
            if lane.waiting and not (kept and priority is not Priority.HIGH)
        ]
        if not ready:
            return None
        oldest = min(ready, key=lambda pair: pair[1].waiting[0][0])
        if self._clock() - oldest[1].waiting[0][0] > self._age_bound:
            return self._start(*oldest)
        for priority, lane in ready:
            if lane.deficit > 0:
                return self._start(priority, lane)
        for _, lane in ready:
            lane.deficit = lane.weight
        return self._start(*ready[0])

    def release(self, priority: Priority) -> None:
        """A slot is free again."""
        self._running[priority] -= 1
        self.running -= 1

    def _start(self, priority: Priority, lane: _Lane[Item]) -> Item:
        lane.deficit -= 1
        self._running[priority] += 1
        self.running += 1
        return lane.waiting.popleft()[1]
