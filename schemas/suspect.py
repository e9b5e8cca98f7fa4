"""Tasks that were running when their process crashed (``suspects``)."""

from datetime import datetime

from msgspec import Struct


class Suspect(Struct, frozen=True, kw_only=True):
    """Value of a record in ``suspects``, key task id: a task, and how often a process crashed while it ran there.

    A tombstone once the task has ended.
    """

    id: str
    generation: int
    type: str
    partition: int
    crashes: int
    how: str
    """Of the last crash: a signal's name, or an exit code."""
    from_within: bool = True
    """Whether the crash came out of the process itself. A SIGKILL may be an operator's, or the kernel's for want of
    memory: then the next run is in company once more, for most of those who stood by have nothing to do with it."""
    at: datetime
    worker: str
