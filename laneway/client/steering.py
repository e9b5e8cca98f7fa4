"""What clients do with a task that is not over: call it off, or have it due at another time."""

from abc import ABC, abstractmethod
from datetime import datetime, timedelta

from laneway.client import operations
from laneway.client.operations import Answer, CancelAnswer, Operation
from schemas.status import Status


class SteeringClient(ABC):
    """The part of ``Client`` that is about tasks that are not over."""

    @abstractmethod
    def _run(self, operation: Operation[Answer]) -> Answer:
        """Carry an operation's requests."""

    def cancel(self, task_id: str) -> CancelAnswer:
        """Call a task off; says what became of it."""
        return self._run(operations.cancel(task_id))

    def reschedule(self, task_id: str, *, run_at: datetime | None = None, delay: timedelta | None = None) -> Status:
        """Change when a waiting task is due: at a time, or after a delay from now on.

        Returns:
            Its status: due at the new time; as it was where no worker has answered yet, who then changes it later.

        Raises:
            NotWaitingError: it does not wait for a time that could be changed.
        """
        return self._run(operations.reschedule(task_id, run_at, delay))


class AsyncSteeringClient(ABC):
    """The part of ``AsyncClient`` that is about tasks that are not over."""

    @abstractmethod
    async def _run(self, operation: Operation[Answer]) -> Answer:
        """Carry an operation's requests."""

    async def cancel(self, task_id: str) -> CancelAnswer:
        """Call a task off; says what became of it."""
        return await self._run(operations.cancel(task_id))

    async def reschedule(
        self, task_id: str, *, run_at: datetime | None = None, delay: timedelta | None = None
    ) -> Status:
        """Change when a waiting task is due: at a time, or after a delay from now on.

        Returns:
            Its status: due at the new time; as it was where no worker has answered yet, who then changes it later.

        Raises:
            NotWaitingError: it does not wait for a time that could be changed.
        """
        return await self._run(operations.reschedule(task_id, run_at, delay))
