"""What a shadow replay found: how each task would end now, beside how it ended."""

from typing import Any

from msgspec import Struct

from schemas.replay import ReplayState
from schemas.status import State


class EndError(Struct, frozen=True, kw_only=True):
    """The part of an error that is compared."""

    type: str
    message: str


class End(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a run ended."""

    state: State
    result: Any = None
    """Absent where it is too long to be shown; `diff` tells of it all the same."""
    error: EndError | None = None
    position: str
    """Where its outcome lies, as `topic-partition@offset`."""


class ShadowDifference(Struct, frozen=True, kw_only=True):
    """A task that would end otherwise."""

    id: str
    type: str
    generation: int
    """That was replayed, and is compared."""
    differs: list[str]
    """Which of `state`, `result` and `error`."""
    before: End
    shadow: End
    diff: list[str]
    """What differs, one value a line; of long results the beginning."""


class DiffCounts(Struct, frozen=True, kw_only=True):
    """How many tasks a comparison is about."""

    same: int
    different: int
    missing_shadow: int
    """Their shadow runs have not ended, or what they ended with is past retention."""
    missing_before: int
    """They have a shadow, but how they ended is past retention."""


class ReplayDiff(Struct, frozen=True, kw_only=True):
    """Answer to ``GET /api/replays/{id}/diff``; as NDJSON its last line, without differences: each is a line before."""

    id: str
    state: ReplayState
    counts: DiffCounts
    complete: bool
    """Whether every task that differs is listed: else ask for NDJSON."""
    differences: list[ShadowDifference] = []
