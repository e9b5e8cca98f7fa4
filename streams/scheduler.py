"""Which lane gets the next free slot of a type. Pure: the clock is given, nothing waits here."""

from collections import deque
from collections.abc import Callable, Mapping
from datetime import timedelta
from enum import Enum
from typing import Final, Generic, TypeVar

from schemas.task import Priority

Item = TypeVar("Item")

WEIGHTS: Final[Mapping[Priority, int]] = {Priority.HIGH: 8, Priority.NORMAL: 4, Priority.LOW: 2}
AGE_BOUND: Final = timedelta(seconds=10)


class Room(Enum):
    """Who may start beside what was started already: where handlers run there can be less room than there are slots."""

    NONE = 0
    HIGH = 1
    """Only ``high``: its own place is left."""
    HIGH_IN_ITS_SHARE = 2
    """Only ``high``, as often as it is its turn among others that have work: it passes what waits there."""
    ANY = 3


class _Lane(Generic[Item]):
    __slots__ = ("deficit", "head_since", "held", "waiting", "weight")

    def __init__(self, weight: int) -> None:
        self.weight = weight
        self.deficit = weight
        self.waiting: deque[Item] = deque()
        self.held = False
        self.head_since = 0.0
        """When the present head became the head."""


class SlotScheduler(Generic[Item]):
    """Weighted deficit round robin over the lanes of one type, with ageing and a slot kept free for ``high``.

    Ordering: within a lane first come, first served. Between lanes that all have work, slots go out as 8 to 4 to 2, and
        whoever waits is passed over by at most 12 others of its round. A lane without work lends its share, and finds
        what is left of it when work comes: `high` that arrives among a flood of `low` is next. A lane whose head has
        been the head for longer than ``age_bound`` comes first, whatever its weight, the longest waiting before the
        others. (The time that a task waits behind others of its lane does not count: in a long queue all are old.)
        Where no ``high`` ever comes, because other workers run it, no slot is kept for it.
    """

    def __init__(
        self,
        slots: int,
        *,
        clock: Callable[[], float],
        weights: Mapping[Priority, int] = WEIGHTS,
        age_bound: timedelta = AGE_BOUND,
        high_comes: bool = True,
    ) -> None:
        self.slots = slots
        self._for_all = slots - 1 if high_comes and slots > 1 else slots
        self._clock = clock
        self._age_bound = age_bound.total_seconds()
        self._high: _Lane[Item] = _Lane(weights[Priority.HIGH])
        self._lanes: dict[Priority, _Lane[Item]] = {
            priority: self._high if priority is Priority.HIGH else _Lane(weights[priority]) for priority in Priority
        }
        self._in_order = tuple(self._lanes.values())
        self._high_running = 0
        self.running = 0

    def waiting(self, priority: Priority) -> int:
        """How many wait in a lane."""
        return len(self._lanes[priority].waiting)

    def add(self, priority: Priority, item: Item) -> None:
        """Let ``item`` wait for a slot."""
        lane = self._lanes[priority]
        if not lane.waiting:
            lane.head_since = self._clock()
        lane.waiting.append(item)

    def discard(self, priority: Priority, unwanted: Callable[[Item], bool]) -> None:
        """Forget those that wait and are ``unwanted``: their partition went to another worker."""
        lane = self._lanes[priority]
        lane.waiting = deque(item for item in lane.waiting if not unwanted(item))

    def hold(self, priority: Priority, *, held: bool) -> None:
        """Give a lane no slots any more, or again; what runs of it goes on, and its share is lent to the others."""
        lane = self._lanes[priority]
        if lane.held and not held:
            lane.head_since = self._clock()
        lane.held = held

    def held(self, priority: Priority) -> bool:
        """Whether a lane is held."""
        return self._lanes[priority].held

    def take(self, room: Room = Room.ANY) -> Item | None:
        """Give a free slot to the one whose turn it is; ``None`` when no slot, no room or nobody is there."""
        if self.running >= self.slots or room is Room.NONE:
            return None
        # The last free slot is for `high` alone, so that a burst of it never waits for a slot to turn over.
        if room is not Room.ANY or self.running - self._high_running >= self._for_all:
            high = self._high
            its_turn = room is not Room.HIGH_IN_ITS_SHARE or high.deficit > 0
            return self._start(high) if high.waiting and not high.held and its_turn else None
        ready = [lane for lane in self._in_order if lane.waiting and not lane.held]
        if not ready:
            return None
        if len(ready) > 1:
            oldest = min(ready, key=_head_since)
            if self._clock() - oldest.head_since > self._age_bound:
                return self._start(oldest)
        for lane in ready:
            if lane.deficit > 0:
                return self._start(lane)
        # Every lane's share is renewed, not only those of the ready: who has no work now finds it when some comes.
        for lane in self._in_order:
            lane.deficit = lane.weight
        return self._start(ready[0])

    def release(self, priority: Priority) -> None:
        """A slot is free again."""
        if priority is Priority.HIGH:
            self._high_running -= 1
        self.running -= 1

    def _start(self, lane: _Lane[Item]) -> Item:
        lane.deficit -= 1
        if lane is self._high:
            self._high_running += 1
        self.running += 1
        lane.head_since = self._clock()
        return lane.waiting.popleft()


def _head_since(lane: _Lane[Item]) -> float:
    return lane.head_since
