"""Which partitions are fetched: those of which not too much waits for too little."""

import asyncio
from typing import Final

from schemas.task import Lane
from streams import turns
from streams.work import Partition

WINDOW: Final = 20_000
"""Records of one partition between the committed one and the newest delivered; beyond it the partition is paused."""


class Flow:
    """The partitions that are paused. All methods belong to the worker's loop."""

    def __init__(self) -> None:
        self.paused: set[tuple[Lane, int]] = set()
        """Must not be fetched."""
        self.changed = asyncio.Event()
        """Set when ``paused`` has changed."""

    def look_at(self, partition: Partition) -> None:
        """Pause a partition of which too much waits; let one flow again of which half of it is through."""
        waiting, keyed = len(partition.tracker), partition.queued_by_key
        if not partition.paused and (waiting >= WINDOW or keyed >= turns.MOST_WAITING):
            partition.paused = True
            self.paused.add((partition.lane, partition.number))
        elif partition.paused and waiting <= WINDOW // 2 and keyed <= turns.MOST_WAITING // 2:
            partition.paused = False
            self.paused.discard((partition.lane, partition.number))
        else:
            return
        self.changed.set()

    def forget(self, partition: Partition) -> None:
        """It is not ours any more."""
        if (of_it := (partition.lane, partition.number)) in self.paused:
            self.paused.discard(of_it)
            self.changed.set()
