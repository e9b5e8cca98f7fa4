"""The ledger of accepted tasks: what a producer was promised, on disk before it goes on."""

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from schemas.status import FINAL_STATES, State

_ANY_END: Final = tuple(sorted(FINAL_STATES))


@dataclass
class Submission:
    """One task that a producer asked for."""

    number: int
    """Names it before it has an id, and travels in its payload."""
    ordering_key: str | None = None
    idempotency_key: str | None = None
    max_attempts: int = 3
    ends: tuple[State, ...] = (State.SUCCEEDED,)
    """States that it may end in."""
    ids: tuple[str, ...] = ()
    """Every id that it was accepted with; more than one only when a producer asked again after an unclear answer."""
    accepted_at: float | None = None


class AcceptedLedger:
    """What was asked for and what was promised.

    Delivery: ``promised`` returns once the line is on disk, so the judge knows of every promise, whatever is killed.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab", buffering=0)
        self.submissions: list[Submission] = []
        self.by_id: dict[str, Submission] = {}

    def asked(
        self,
        *,
        ordering_key: str | None = None,
        idempotency_key: str | None = None,
        max_attempts: int = 3,
        ends: tuple[State, ...] = (State.SUCCEEDED,),
    ) -> Submission:
        """A task is about to be asked for; answers its number."""
        submission = Submission(len(self.submissions), ordering_key, idempotency_key, max_attempts, ends)
        self.submissions.append(submission)
        return submission

    def promised(self, submission: Submission, task_id: str, *, more: bool = False) -> None:
        """The answer was yes; with ``more`` to follow at once, the last one is what brings all of them to disk."""
        self._file.write(
            msgspec.json.encode([submission.number, task_id, time.time(), submission.ordering_key]) + b"\n"
        )
        if not more:
            os.fdatasync(self._file.fileno())
        if task_id not in submission.ids:
            submission.ids += (task_id,)
        submission.accepted_at = submission.accepted_at or time.time()
        self.by_id[task_id] = submission

    def close(self) -> None:
        """Close the file."""
        self._file.close()
