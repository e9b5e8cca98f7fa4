"""What clients do with everything at once and with the past: counts, replays and dead letters."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

from laneway.client import operations, replays
from laneway.client.operations import Answer, Operation, Overview, TaskCount
from schemas.dead_letters import DeadLetter, DeadLetterPage
from schemas.replay import ReplayView, Wish
from schemas.replay_diff import ReplayDiff


class PastClient(ABC):
    """The part of ``Client`` that is about everything at once, and about the past."""

    @abstractmethod
    def _run(self, operation: Operation[Answer]) -> Answer:
        """Carry an operation's requests."""

    def overview(self) -> Overview:
        """How everything stands: what needs attention, the last hour, lanes and workers."""
        return self._run(operations.look_over())

    def counts(self) -> list[TaskCount]:
        """How many tasks there are by type, priority and state; combinations without any are left out."""
        return self._run(operations.count_tasks())

    def replay(self, select: Mapping[str, Any], **options: Any) -> ReplayView:
        """Plan a replay of the tasks that ``select`` means, and run it unless ``dry_run`` is true."""
        return self._run(replays.make_replay(select, options, "/api/replays"))

    def redrive(self, select: Mapping[str, Any], **options: Any) -> ReplayView:
        """Send the dead letters that ``select`` means back into their lanes."""
        return self._run(replays.make_replay(select, options, "/api/dlq/redrive"))

    def get_replay(self, replay_id: str, held: timedelta = timedelta(0)) -> ReplayView:
        """A replay; held until nothing more is done for it, at most ``held``."""
        return self._run(replays.get_replay(replay_id, held))

    def diff_replay(self, replay_id: str, limit: int = 50) -> ReplayDiff:
        """What a shadow replay found: every count, and the first ``limit`` tasks that differ (at most 1,000)."""
        return self._run(replays.diff_replay(replay_id, limit))

    def replays(self) -> list[ReplayView]:
        """The latest replays, newest first."""
        return self._run(replays.list_replays())

    def ask_replay(self, replay_id: str, wish: Wish) -> ReplayView:
        """Have a replay run, paused or aborted."""
        return self._run(replays.ask_replay(replay_id, wish))

    def dead_letters(self, types: Iterable[str] = (), **options: Any) -> DeadLetterPage:
        """Dead letters, and how many there are of each error."""
        return self._run(replays.dead_letters(types, options))

    def dead_letter(self, position: str) -> DeadLetter:
        """The dead letter at ``topic-partition@offset``, in full."""
        return self._run(replays.dead_letter(position))


class AsyncPastClient(ABC):
    """The part of ``AsyncClient`` that is about the past."""

    @abstractmethod
    async def _run(self, operation: Operation[Answer]) -> Answer:
        """Carry an operation's requests."""

    async def overview(self) -> Overview:
        """How everything stands: what needs attention, the last hour, lanes and workers."""
        return await self._run(operations.look_over())

    async def counts(self) -> list[TaskCount]:
        """How many tasks there are by type, priority and state; combinations without any are left out."""
        return await self._run(operations.count_tasks())

    async def replay(self, select: Mapping[str, Any], **options: Any) -> ReplayView:
        """Plan a replay of the tasks that ``select`` means, and run it unless ``dry_run`` is true."""
        return await self._run(replays.make_replay(select, options, "/api/replays"))

    async def redrive(self, select: Mapping[str, Any], **options: Any) -> ReplayView:
        """Send the dead letters that ``select`` means back into their lanes."""
        return await self._run(replays.make_replay(select, options, "/api/dlq/redrive"))

    async def get_replay(self, replay_id: str, held: timedelta = timedelta(0)) -> ReplayView:
        """A replay; held until nothing more is done for it, at most ``held``."""
        return await self._run(replays.get_replay(replay_id, held))

    async def diff_replay(self, replay_id: str, limit: int = 50) -> ReplayDiff:
        """What a shadow replay found: every count, and the first ``limit`` tasks that differ (at most 1,000)."""
        return await self._run(replays.diff_replay(replay_id, limit))

    async def replays(self) -> list[ReplayView]:
        """The latest replays, newest first."""
        return await self._run(replays.list_replays())

    async def ask_replay(self, replay_id: str, wish: Wish) -> ReplayView:
        """Have a replay run, paused or aborted."""
        return await self._run(replays.ask_replay(replay_id, wish))

    async def dead_letters(self, types: Iterable[str] = (), **options: Any) -> DeadLetterPage:
        """Dead letters, and how many there are of each error."""
        return await self._run(replays.dead_letters(types, options))

    async def dead_letter(self, position: str) -> DeadLetter:
        """The dead letter at ``topic-partition@offset``, in full."""
        return await self._run(replays.dead_letter(position))
