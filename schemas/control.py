"""What operators asked for: lanes that are held (``control``) and tasks that are called off (``cancellations``)."""

from enum import StrEnum
from typing import Final

from msgspec import Struct

from schemas.task import AwareDatetime, Lane, Priority

OPERATOR: Final = "api"
"""Who a lane is held by that an operator asked for."""
LANE_KEY: Final = "lane/"
"""What the key of a lane's record begins with; its name follows."""


class LaneControl(Struct, frozen=True, kw_only=True):
    """Value of a record in ``control``, key ``lane/<type>.<priority>``: whether the lane is held on every worker."""

    type: str
    priority: Priority
    paused: bool
    at: AwareDatetime
    """Since when it is as it is."""
    by: str
    """Who said so: `api`, with an operator's name or address behind it where that is known (`api: ada`), or the name of
    a worker that met a budget."""
    reason: str | None = None

    @property
    def lane(self) -> Lane:
        """Which lane."""
        return Lane(self.type, self.priority)

    @property
    def by_operator(self) -> bool:
        """Whether a person asked for it, and not a worker. No worker's name has a colon."""
        return self.by == OPERATOR or self.by.startswith(f"{OPERATOR}:")

    @property
    def holder(self) -> str:
        """Who said so, as people call them."""
        return self.by.removeprefix(f"{OPERATOR}: ")

    @property
    def key(self) -> str:
        """Key of its record."""
        return f"{LANE_KEY}{self.lane}"


class Cancelled(StrEnum):
    """What became of a cancellation."""

    BEFORE_START = "before_start"
    """It waited, and will not start any more."""
    WHILE_RUNNING = "while_running"
    """Its handler is told, and stopped after a grace; if it is done sooner without having looked, it has succeeded."""
    TOO_LATE = "too_late"
    """It had ended."""
    REQUESTED = "requested"
    """No worker has answered yet; once one has the task, it will not start it."""


class Cancellation(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Value of a record in ``cancellations``, key task id, partition as the task's; a tombstone once it is carried out.

    It holds for runs of this generation and earlier ones, never for a later one.
    """

    id: str
    type: str
    priority: Priority
    generation: int
    at: AwareDatetime
    answered: bool = False
    """Whether a worker that has the task's partition, or runs it, has heard of it: from then on it cannot start."""
    outcome: Cancelled | None = None
    """What the worker did; ``None`` when the task was not in it: then ``status`` tells what it is."""
    worker: str | None = None

    @property
    def lane(self) -> Lane:
        """Where the task runs."""
        return Lane(self.type, self.priority)
