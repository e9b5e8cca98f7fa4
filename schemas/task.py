"""What a producer asks for (``TaskSubmission``) and what the log keeps of it (``Task``)."""

import re
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Final, NamedTuple

from msgspec import Meta, Raw, Struct

TYPE_PATTERN: Final = r"^[a-z][a-z0-9_-]*(\.[a-z0-9][a-z0-9_-]*)*$"
MAX_TYPE_LENGTH: Final = 100
RESERVED_LAST_SEGMENTS: Final = frozenset({"dlq", "shadow"})
"""A type cannot end in these: topic names give them a meaning of their own."""
OWN_WORD: Final = "laneway"
"""Types whose first word this is are Laneway's own: nobody else defines or submits them."""
CALLBACK_TYPE: Final = f"{OWN_WORD}.callback"
"""The type whose tasks post outcomes to where a task's ``callback_url`` says."""
MAX_DELAY_SECONDS: Final = 90 * 24 * 3600
MAX_ATTEMPTS: Final = 100
MAX_LABELS: Final = 32

TypeName = Annotated[
    str, Meta(pattern=TYPE_PATTERN, max_length=MAX_TYPE_LENGTH, description="Task type, such as `email`.")
]
TaskId = Annotated[
    str, Meta(min_length=1, max_length=64, description="UUIDv7, or one made from the producer's idempotency key.")
]
AwareDatetime = Annotated[datetime, Meta(tz=True)]
Labels = Annotated[
    dict[Annotated[str, Meta(min_length=1, max_length=64)], Annotated[str, Meta(max_length=256)]],
    Meta(max_length=MAX_LABELS, description="Free string pairs to find tasks by; they travel to the outcome."),
]
OrderingKey = Annotated[
    str,
    Meta(min_length=1, max_length=256, description="Tasks of one key run one at a time, in the order accepted."),
]
Attempts = Annotated[
    int, Meta(ge=1, le=MAX_ATTEMPTS, description="Runs before the task is dead-lettered; the first counts.")
]
Seconds = Annotated[float, Meta(gt=0, le=MAX_DELAY_SECONDS)]
CallbackUrl = Annotated[
    str, Meta(pattern=r"^https?://", max_length=2048, description="Gets the signed outcome by POST.")
]


class Priority(StrEnum):
    """How urgent: each priority of a type has a topic, a consumer group and a share of the slots of its own."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


class Lane(NamedTuple):
    """One (type, priority): one topic, one consumer group."""

    type: str
    priority: Priority

    def __str__(self) -> str:
        return f"{self.type}.{self.priority}"


class TaskSubmission(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of ``POST /api/tasks``. An unknown field is an error, so that a typo is never silent."""

    type: TypeName
    payload: Raw
    """The type's own part, checked against the type's schema before the task is accepted."""
    priority: Priority = Priority.NORMAL
    run_at: AwareDatetime | None = None
    """Not before this time; excludes ``delay``."""
    delay: Annotated[float, Meta(ge=0, le=MAX_DELAY_SECONDS)] | None = None
    """Seconds to wait before the first run; excludes ``run_at``."""
    expires_at: AwareDatetime | None = None
    """A task that has not started by then ends ``expired``."""
    ordering_key: OrderingKey | None = None
    max_attempts: Attempts | None = None
    timeout: Seconds | None = None
    """Seconds that one attempt may run."""
    labels: Labels = {}
    callback_url: CallbackUrl | None = None


class Task(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Value of a record in ``tasks.<type>.<priority>``: the task exactly as accepted.

    It never changes on its way. What changes from attempt to attempt (``schemas.headers.Delivery``) travels in
    headers, so that a retry or a dead letter carries these very bytes.
    """

    id: TaskId
    type: TypeName
    payload: Raw
    priority: Priority = Priority.NORMAL
    created_at: AwareDatetime | None = None
    """When it was accepted; a task put on the topic by another client may leave it to the record's timestamp."""
    generation: Annotated[int, Meta(ge=1)] = 1
    max_attempts: Attempts | None = None
    """``None``: as the type's retry policy says."""
    timeout: Seconds | None = None
    run_at: AwareDatetime | None = None
    expires_at: AwareDatetime | None = None
    ordering_key: OrderingKey | None = None
    labels: Labels = {}
    callback_url: CallbackUrl | None = None
    replay_id: str | None = None
    fingerprint: str | None = None
    """Digest of the submission, only with an idempotency key: the same key with another body is refused by it."""
    schedule: str | None = None
    """Name of the schedule that made it; whoever ends the task tells ``schedules``."""

    @property
    def lane(self) -> Lane:
        """Where the task runs."""
        return Lane(self.type, self.priority)

    @property
    def partition_key(self) -> str:
        """What decides the partition: the ordering key where there is one, else the id."""
        return self.ordering_key if self.ordering_key is not None else self.id


def check_type_name(name: str) -> str:
    """Return ``name`` if it can be a task type.

    Raises:
        ValueError: it cannot, and why.
    """
    if len(name) > MAX_TYPE_LENGTH or not re.fullmatch(TYPE_PATTERN, name):
        raise ValueError(
            f"task type {name!r}: want lower-case words joined by dots, such as 'billing.invoice',"
            f" at most {MAX_TYPE_LENGTH} characters"
        )
    if name.partition(".")[0] == OWN_WORD:
        raise ValueError(f"task type {name!r}: its first word is reserved for Laneway's own types; choose another")
    if name.rpartition(".")[2] in RESERVED_LAST_SEGMENTS:
        raise ValueError(f"task type {name!r}: its last word is reserved for topic names; choose another")
    return name
