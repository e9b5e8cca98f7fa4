"""What is known of a task: now, or once it is over."""

import asyncio
import contextlib
import re
import time
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from ingest.recent import RecentTasks
from ingest.view.reader import ViewReader
from ingest.view.store import RETENTION
from laneway.ids import made_at
from schemas.errors import TaskGoneError, TaskNotFoundError
from schemas.status import State

_JUST_NOW: Final = timedelta(seconds=10)
_PATIENCE: Final = 0.05
"""Seconds that a task which another instance accepted has to come into the view by itself."""
_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class StateOnly(msgspec.Struct):
    """The part of a status document that decides what is answered."""

    state: State


_STATE: Final = msgspec.json.Decoder(StateOnly)


class Lookup:
    """Finds tasks.

    Delivery: whoever got a 202 finds the task at once, on every instance. A 404 is true: what the view does not have is
        asked of the log.
    """

    def __init__(self, view: ViewReader, recent: RecentTasks) -> None:
        self._view = view
        self._recent = recent

    async def find(self, task_id: str) -> bytes:
        """The status document.

        Raises:
            TaskNotFoundError: no such task was ever accepted.
            TaskGoneError: there may have been one, longer ago than statuses are kept.
            UnavailableError: it cannot be known now.
        """
        found = self._view.find_quietly(task_id)
        if found is None:
            found = self._recent.find(task_id, self._view.applied)
        if found is None and _UUID.fullmatch(task_id):
            found = await self._view.find_strongly(task_id, _PATIENCE if _just_made(task_id) else 0.0)
        if found is not None:
            return found
        made = made_at(task_id)
        if made is not None and datetime.now(UTC) - made > RETENTION:
            raise TaskGoneError(
                f"a task of this id would be of {made:%Y-%m-%d}; statuses are kept for {RETENTION.days} days",
                id=task_id,
            )
        raise TaskNotFoundError("no task of this id was accepted", id=task_id[:80])

    async def wait(self, task_id: str, seconds: float) -> bytes:
        """The status document once its state is final, or as it is after ``seconds``.

        Raises:
            AdmissionError: as ``find``.
        """
        deadline = time.monotonic() + seconds
        async with self._view.changes_of(task_id) as changed:
            while True:
                changed.clear()
                found = await self.find(task_id)
                left = deadline - time.monotonic()
                if left <= 0 or self._view.released or state_of(found).final:
                    return found
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(changed.wait(), left)


def _just_made(task_id: str) -> bool:
    made = made_at(task_id)
    return made is not None and abs(datetime.now(UTC) - made) < _JUST_NOW


def state_of(document: bytes) -> State:
    """The state in a status document."""
    return _STATE.decode(document).state
