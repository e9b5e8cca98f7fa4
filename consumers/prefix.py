"""What may be committed of a partition whose records are done in any order: all before the first open one."""

from collections import deque
from typing import Generic, TypeVar

Record = TypeVar("Record")


class Prefix(Generic[Record]):
    """Records of one partition during one assignment, done in any order and given back in the order of the log.

    Memory: what lies between the oldest open record and the newest one; whoever delivers bounds it by ``len``.
    """

    def __init__(self) -> None:
        self._waiting: deque[tuple[int, Record]] = deque()
        """Offsets that are not given back yet, in order."""
        self._done: set[int] = set()
        self._next = -1

    def __len__(self) -> int:
        """How many records lie from the oldest open one to the newest one delivered."""
        return len(self._waiting)

    def deliver(self, offset: int, record: Record) -> bool:
        """Take note of the next record. Gaps (compaction, transactions) need no note: nothing waits for them.

        Returns:
            False for a record that was delivered before: whatever is done about it must not count for the first one,
            which may be open still. A client that resumes a partition may deliver some again.
        """
        if offset < self._next:
            return False
        self._waiting.append((offset, record))
        self._next = offset + 1
        return True

    def done(self, offset: int) -> Record | None:
        """A delivered record is done.

        Returns:
            The newest record before which nothing is open any more, itself included; ``None`` where that is no news.
        """
        self._done.add(offset)
        newest: Record | None = None
        while self._waiting and self._waiting[0][0] in self._done:
            first, newest = self._waiting.popleft()
            self._done.discard(first)
        return newest
