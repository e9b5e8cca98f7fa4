"""Which past tasks a job replays, and which it passes over: by the record, by the status, by the payload."""

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import msgspec
from jmespath.exceptions import JMESPathError

from ingest.replay.choosing import Chooser, Past
from ingest.replay.patching import Patch
from ingest.replay.statuses import Known, Statuses
from laneway.registry import Registry
from schemas import codec
from schemas.errors import PayloadError, UndecodableRecordError
from schemas.replay import Replay, Source
from schemas.status import State, Status
from schemas.topics import MAX_RECORD_BYTES

STILL_RUNNING: Final = "still_running"
"""It has not ended: it will have an outcome without a replay."""
UNKNOWN: Final = "unknown"
"""No status tells of it, so nobody can say that it has ended."""
SUPERSEDED: Final = "superseded"
"""A dead letter of a generation that has been followed by another, or was."""
UNKNOWN_TYPE: Final = "unknown_type"
"""No handler of this type is known here."""
WHERE_FAILED: Final = "where_failed"
"""The expression cannot be applied to its payload."""
PATCH_FAILED: Final = "patch_failed"
"""The user's function raised, or returned what is no JSON."""
REFUSED: Final = "refused"
"""The patched payload is refused by the type's schema."""
TOO_LARGE: Final = "too_large"
"""With its new payload it does not fit a record."""
UNDECODABLE: Final = "undecodable"
"""No task at all."""
MARGIN: Final = 8_192
"""Bytes of a record that are not its value."""


class Judged(NamedTuple):
    """A past task that is selected."""

    past: Past
    status: Status | None
    """As it is now; ``None`` of a dead letter that is older than statuses are kept."""
    state: State
    generation: int
    """As it is now."""
    why_not: str | None
    """Why it is not replayed, though it is selected."""
    payload: bytes | None
    """The new one; ``None``: as it was."""
    mine: bool = False
    """Whether this job has replayed it already."""


class Judge:
    """Decides for a job. All methods belong to one thread at a time.

    Raises:
        InvalidReplayError: the expression or the function is none.
    """

    def __init__(self, replay: Replay, registry: Registry, statuses: Statuses) -> None:
        self._replay = replay
        self._dead = replay.source is Source.DEAD_LETTERS
        self._chooser = Chooser(replay.select, replay.source)
        self._patch = Patch(replay.patch, replay.transform)
        self._registry = registry
        self._statuses = statuses

    def judge(self, pasts: Sequence[Past]) -> Iterator[Judged]:
        """Those of ``pasts`` that are selected, in their order.

        A task's further runs are passed over; what else is there twice is judged twice.

        Raises:
            UnavailableError: the view cannot be asked.
        """
        # What decides most for the least comes first.
        wanted: list[tuple[Past, str | None]] = []
        for past in pasts:
            if self._chooser.wants(past):
                holds = self._holds(past)
                if holds is not False and (self._dead or not past.further_run):
                    wanted.append((past, None if holds else WHERE_FAILED))
        if not wanted:
            return
        known = self._statuses.find([past.task.id for past, _ in wanted])
        for past, failed in wanted:
            judged = self._judged(past, known.get(past.task.id), failed)
            if judged is not None:
                yield judged

    def _holds(self, past: Past) -> bool | None:
        """Whether the expression is true; ``None``: it cannot be applied."""
        if not self._chooser.looks_into_payloads:
            return True
        try:
            return self._chooser.wants_payload(msgspec.json.decode(past.task.payload))
        except (JMESPathError, TypeError, ValueError, AttributeError, RecursionError):
            # jmespath's functions raise what Python does for values that they were not made for.
            return None

    def _judged(self, past: Past, known: Known | None, failed: str | None) -> Judged | None:
        state, generation, why_not = self._standing(past, known)
        status: Status | None = None
        if known is not None:
            try:
                status = codec.decode(known.document, Status)
            except UndecodableRecordError:
                why_not = UNKNOWN
        if status is not None and status.replay_id == self._replay.id:
            # Whatever has become of it since: it was selected as it was.
            return Judged(past, status, state, generation, None, None, mine=True)
        if self._replay.shadow and not self._dead and past.task.generation != generation:
            # What is compared is how its present generation ended, which was made by another record.
            return None
        if not self._chooser.wants_end(past, state, status):
            return None
        why_not = failed or why_not
        payload: bytes | None = None
        if self._patch.changes and why_not is None:
            payload, why_not = self._patched(past, msgspec.json.decode(past.task.payload))
        if why_not is None and past.task.type not in self._registry:
            why_not = UNKNOWN_TYPE
        if why_not is None and len(payload or past.value) + MARGIN > MAX_RECORD_BYTES:
            why_not = TOO_LARGE
        return Judged(past, status, state, generation, why_not, payload)

    def _standing(self, past: Past, known: Known | None) -> tuple[State, int, str | None]:
        if known is None:
            # Statuses of what ended are kept for as long as lanes keep tasks, dead letters are kept longer.
            if self._dead:
                return State.DEAD_LETTERED, past.task.generation, None
            return State.QUEUED, past.task.generation, UNKNOWN
        if not known.state.final:
            return known.state, known.generation, STILL_RUNNING
        if self._dead and (known.generation != past.task.generation or known.state is not State.DEAD_LETTERED):
            return State.DEAD_LETTERED, known.generation, SUPERSEDED
        return known.state, known.generation, None

    def _patched(self, past: Past, before: Any) -> tuple[bytes | None, str | None]:
        if past.task.type not in self._registry:
            return None, UNKNOWN_TYPE
        try:
            payload = msgspec.json.encode(self._patch.apply(before))
        except Exception:  # noqa: BLE001  (a user's function: whatever it raises, the next task follows)
            return None, PATCH_FAILED
        try:
            self._registry[past.task.type].validate(payload)
        except PayloadError:
            return None, REFUSED
        return payload, None
