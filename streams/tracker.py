"""What may be committed of one partition: nothing beyond the first record whose outcome is not durable yet."""

import re
from collections import deque
from typing import Final, NamedTuple

HANDED_OVER: Final = "handed-over;"
_METADATA: Final = re.compile(rf"(?:status@(\d+);)?({HANDED_OVER})?")


class CommitNote(NamedTuple):
    """What a commit says beside its offset."""

    marker: int | None = None
    """Where in ``status`` a successor starts to read; ``None`` where somebody else, or nobody, has committed."""
    handed_over: bool = False
    """Whether all that had ended was durable, and all that ran claimed: nothing more is told by the former owner."""


def commit_metadata(marker: int | None, *, handed_over: bool = False) -> str:
    """A ``CommitNote`` as the broker keeps it."""
    return ("" if marker is None else f"status@{marker};") + (HANDED_OVER if handed_over else "")


def read_commit_metadata(said: str | None) -> CommitNote:
    """What ``commit_metadata`` said; nothing where the words are not ours."""
    found = _METADATA.fullmatch(said or "")
    if found is None:
        return CommitNote()
    return CommitNote(None if found[1] is None else int(found[1]), found[2] is not None)


class OffsetTracker:
    """Records of one partition during one assignment, acknowledged in any order, committed strictly in order.

    A revoked partition's tracker is dropped and a new assignment makes a new one, so what still runs for the old
    assignment can say it is done without touching what the new one commits.
    """

    def __init__(self) -> None:
        self._open: deque[_Entry] = deque()
        self._index: dict[int, _Entry] = {}
        self._next: int | None = None

    def __len__(self) -> int:
        """How many records lie between what may be committed and the newest one delivered."""
        return len(self._open)

    def deliver(self, offset: int) -> bool:
        """Take note of a delivered record. Gaps (compaction, transactions) need no note: nothing waits for them.

        Returns:
            False for a record that was delivered before: it must not be handled again.
        """
        if self._next is not None and offset < self._next:
            return False
        entry = _Entry(offset)
        self._open.append(entry)
        self._index[offset] = entry
        self._next = offset + 1
        return True

    def note(self, offset: int, marker: int) -> None:
        """The record is not done, but ``status`` tells something of it at ``marker`` that a successor must know."""
        self._index[offset].marker = marker

    def done(self, offset: int, marker: int | None = None) -> None:
        """The record's outcome is durable.

        Args:
            offset: a delivered record.
            marker: offset of its outcome in the same partition of ``status``.
        """
        entry = self._index[offset]
        entry.done = True
        if marker is not None and entry.marker is None:
            entry.marker = marker
        while self._open and self._open[0].done:
            del self._index[self._open.popleft().offset]

    @property
    def delivered_until(self) -> int | None:
        """The next record to be delivered; ``None`` before the first delivery."""
        return self._next

    @property
    def committable(self) -> int | None:
        """The next record that has to be done; ``None`` before the first delivery."""
        return self._open[0].offset if self._open else self._next

    def first_marker(self, newest: int | None) -> int | None:
        """Where a successor starts to read ``status`` to find all that it must know beyond ``committable``.

        Args:
            newest: the newest outcome that this process knows to be durable in that partition of ``status``; what it
                publishes from now on lies beyond.
        """
        markers = [entry.marker for entry in self._open if entry.marker is not None]
        if newest is not None:
            markers.append(newest)
        return min(markers, default=None)


class _Entry:
    __slots__ = ("done", "marker", "offset")

    def __init__(self, offset: int) -> None:
        self.offset = offset
        self.done = False
        self.marker: int | None = None
