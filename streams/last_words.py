"""When a worker that has left its group is certainly silent. Pure; the caller tells the time."""

from collections.abc import Set
from typing import Final

LAST_WORDS_WITHIN: Final = 1.0
"""Seconds in which what a worker had sent, when its group gave it up, comes into the log once the broker that it was
sent to answers. A bound, not a proof."""


class LastWords:
    """Whoever claimed a task of one partition and has left the group: from when on they have nothing more to say."""

    def __init__(self) -> None:
        self._said_by: dict[str, float] = {}

    def may_speak(self, claimants: Set[str], alive: Set[str], asked_at: float, answered_at: float) -> frozenset[str]:
        """Who may still tell something beyond a read of ``status``.

        Args:
            claimants: who was told to run something, that read included.
            alive: who was in the group before that read began.
            asked_at: when the group was asked, in seconds.
            answered_at: when the read was over, by the same clock.

        Returns:
            All who are alive, and the claimants who are gone but were not known to be for long enough.
        """
        self._said_by = {
            name: self._said_by.get(name, answered_at + LAST_WORDS_WITHIN) for name in claimants if name not in alive
        }
        return frozenset(alive | {name for name, said_by in self._said_by.items() if asked_at < said_by})
