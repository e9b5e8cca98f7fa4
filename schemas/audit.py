"""What operators asked for (``audit``), by the dashboard or the API: who, what, when, and how much it touched."""

from msgspec import Struct

from schemas.task import AwareDatetime


class AuditRecord(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Value of a record in ``audit``, key ``id``.

    One is appended before anything is done, so that nothing is done that is not recorded, and another of the same
    ``id`` once it is known what came of it.
    """

    id: str
    """Names the action; UUIDv7."""
    at: AwareDatetime
    by: str
    """The user whom a proxy named, else the address that the request came from."""
    action: str
    """Noun and verb: `task.cancel`, `lane.pause`."""
    target: str
    """What it was asked of: a task's id, a lane, a schedule's name, a filter."""
    details: dict[str, str] = {}
    """What else was said, such as a reason; of the API, `via` and the `agent` that asked."""
    count: int | None = None
    """How many tasks it touched."""
    outcome: str | None = None
    """What came of it; absent while that is not known."""
