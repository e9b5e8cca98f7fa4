"""Tasks that this process accepted a moment ago."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Final, NamedTuple

CAPACITY: Final = 20_000


class _Recent(NamedTuple):
    document: bytes
    partition: int
    offset: int


class RecentTasks:
    """Status documents from the acknowledgement until the view has them, so that a task is read back at once.

    Bounded: what is pushed out is found by a strong read of the view, only later.
    """

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        # A plain dict finds its oldest key only by passing over the gaps of all that were deleted before it.
        self._tasks: OrderedDict[str, _Recent] = OrderedDict()

    def add(self, task_id: str, document: bytes, partition: int, offset: int) -> None:
        """Remember an accepted task, and where its status record lies, or one that follows it."""
        self._tasks[task_id] = _Recent(document, partition, offset)
        if len(self._tasks) > self._capacity:
            self._tasks.popitem(last=False)

    def find(self, task_id: str, applied: Callable[[], dict[int, int]]) -> bytes | None:
        """The document of a task that the view was just found not to have.

        Args:
            task_id: of the task.
            applied: tells how far the view is. Beyond the record the view knows better: it has deleted the task.
        """
        recent = self._tasks.get(task_id)
        if recent is None:
            return None
        if applied().get(recent.partition, 0) > recent.offset:
            del self._tasks[task_id]
            return None
        return recent.document
