"""Changing when a waiting task is due: what is asked (``DueSubmission``) and what ``cancellations`` keeps of it."""

from typing import Annotated, Final

from msgspec import Meta, Raw, Struct

from schemas.status import NULL, Status
from schemas.task import MAX_DELAY_SECONDS, AwareDatetime, Lane, Priority

DUE_KEY: Final = "due/"
"""What the key of a change begins with; the task's id follows."""
WITHDRAWN_KEY: Final = "withdrawn/"
"""What the key of a withdrawal begins with; the task's id follows."""
CHANGED_MEANWHILE: Final = "it was changed meanwhile"
"""The refusal of a change that was made up from a status which is not the task's any more: ask again by the present."""


class DueSubmission(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of ``PATCH /api/tasks/{id}``: when the task shall be due. Exactly one of the two."""

    run_at: AwareDatetime | None = None
    """Not before this time; one that has passed means now."""
    delay: Annotated[float, Meta(ge=0, le=MAX_DELAY_SECONDS)] | None = None
    """Seconds from now on; 0 means now."""


class DueChange(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Value of a record in ``cancellations``, key ``due/<task id>``, partition as the task's.

    Somebody asks that a waiting task be due at another time. Whoever has the task's partition answers by the same
    record with ``answered``, and then puts a tombstone.
    """

    name: str
    """Tells this request from others."""
    status: Status
    """What the task's status is once it is done: due at ``not_before``, with one deferral more than before."""
    was_due: AwareDatetime
    """When the task is due as long as it is not done."""
    task: Raw = NULL
    """The task as its record has it; gone from an answer."""
    traceparent: str | None = None
    """W3C trace context of the request that submitted it."""
    answered: bool = False
    refused: str | None = None
    """In an answer: why it was not done; ``None`` when it was."""
    worker: str | None = None
    """Who answered."""

    @property
    def lane(self) -> Lane:
        """Where the task runs."""
        return Lane(self.status.type, self.status.priority)


class Withdrawal(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Value of a record in ``cancellations``, key ``withdrawn/<task id>``, partition as the task's.

    Records that ask for an earlier run of the task than this one must not start anything: another record asks for it
    instead. Nobody takes it back; it is of no use any more from ``until`` on.
    """

    id: str
    type: str
    priority: Priority
    generation: int
    attempt: int
    deferrals: int
    by: str
    """Name of the change that it belongs to."""
    until: AwareDatetime
    """Longer than any record that asks for an earlier run is kept."""

    @property
    def run(self) -> tuple[int, int, int]:
        """The first run that may start: (generation, attempt, deferrals)."""
        return self.generation, self.attempt, self.deferrals
