"""What calling a task off is made of, and what it is answered with. No I/O."""

from datetime import datetime

import msgspec

from schemas.control import Cancellation, Cancelled
from schemas.outcome import Event
from schemas.status import State, Status


def cancellation_of(status: Status, now: datetime) -> Cancellation:
    """The request to call a task off."""
    return Cancellation(id=status.id, type=status.type, priority=status.priority, generation=status.generation, at=now)


def called_off(status: Status, now: datetime) -> tuple[Status, Event]:
    """A task's end and the event that tells it, where it waits and no worker can start it any more."""
    ended = msgspec.structs.replace(
        status,
        state=State.CANCELLED,
        updated_at=now,
        finished_at=now,
        started_at=None,
        not_before=None,
        worker=None,
    )
    return ended, Event.of(ended)


def what_it_was(status: Status) -> Cancelled:
    """What a cancellation of a task that has ended is answered with; the same as before when it ended by one."""
    if status.state is not State.CANCELLED:
        return Cancelled.TOO_LATE
    return Cancelled.BEFORE_START if status.started_at is None else Cancelled.WHILE_RUNNING
