"""Tasks that this process accepted a moment ago."""

from collections.abc import Callable
from typing import Final, NamedTuple

from laneway.kafka.producer import RecordMetadata

CAPACITY: Final = 20_000


class _Recent(NamedTuple):
    document: bytes
    where: RecordMetadata


class RecentTasks:
    """Status documents from the acknowledgement until the view has them, so that a task is read back at once.

    Bounded: what is pushed out is found by a strong read of the view, only later.
    """

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._tasks: dict[str, _Recent] = {}

    def add(self, task_id: str, document: bytes, where: RecordMetadata) -> None:
        """Remember an accepted task, and where its status record lies."""
        self._tasks[task_id] = _Recent(document, where)
        if len(self._tasks) > self._capacity:
            del self._tasks[next(iter(self._tasks))]

    def find(self, task_id: str, applied: Callable[[], dict[int, int]]) -> bytes | None:
        """The document of a task that the view was just found not to have.

        Args:
            task_id: of the task.
            applied: tells how far the view is. Beyond the record the view knows better: it has deleted the task.
        """
        recent = self._tasks.get(task_id)
        if recent is None:
            return None
        if applied().get(recent.where.partition, 0) > recent.where.offset:
            del self._tasks[task_id]
            return None
        return recent.document
