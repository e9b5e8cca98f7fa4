"""What a session has appended and the view does not tell yet."""

from collections import deque
from typing import Final

from ingest.replay.statuses import Statuses
from laneway.kafka.appender import Appended

_MOST: Final = 200_000


class RecentReplays:
    """Ids of tasks, as long as the view may not have their new status.

    Bounded: beyond ``_MOST`` it is ``full``, and whoever adds waits for the view.
    """

    def __init__(self, topic: str, statuses: Statuses) -> None:
        self._topic = topic
        self._statuses = statuses
        self._ids: set[str] = set()
        self._appended: deque[tuple[list[str], dict[int, int]]] = deque()

    def __contains__(self, task_id: str) -> bool:
        return task_id in self._ids

    def add(self, task_id: str) -> None:
        """It is being appended."""
        self._ids.add(task_id)

    def appended(self, ids: list[str], where: Appended) -> None:
        """Their statuses are in the log; where the broker does not say where, they are remembered for good."""
        if any(offset < 0 for (topic, _), offset in where.last.items() if topic == self._topic):
            return
        ends = {number: offset + 1 for (topic, number), offset in where.last.items() if topic == self._topic}
        self._appended.append((ids, ends))

    def forget(self) -> None:
        """Forget those that the view has.

        Raises:
            UnavailableError: it cannot be asked.
        """
        if not self._appended:
            return
        applied = self._statuses.applied()
        while self._appended:
            ids, ends = self._appended[0]
            if any(applied.get(number, 0) < end for number, end in ends.items()):
                return
            self._ids.difference_update(ids)
            self._appended.popleft()

    @property
    def full(self) -> bool:
        """Whether the view has to catch up first."""
        return len(self._ids) >= _MOST
