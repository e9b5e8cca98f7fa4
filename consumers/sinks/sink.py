"""What a sink promises, and what is written to one."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, NamedTuple, Protocol

import msgspec

from schemas.codec import decode
from schemas.errors import UndecodableRecordError
from schemas.outcome import Outcome

COLUMNS: Final = (
    *("task_id", "generation", "type", "priority", "state", "result", "error", "attempt", "max_attempts"),
    *("created_at", "started_at", "finished_at", "labels", "ordering_key", "replay_id", "worker"),
    *("log_partition", "log_offset"),
)
"""Of every sink, in this order; ``docs/results.md`` says what each holds."""


class Row(NamedTuple):
    """An outcome and where it lies in the log; fields as in ``COLUMNS``. JSON is text, exactly as it was published."""

    task_id: str
    generation: int
    type: str
    priority: str
    state: str
    result: str
    error: str | None
    attempt: int
    max_attempts: int
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime
    labels: str
    ordering_key: str | None
    replay_id: str | None
    worker: str | None
    log_partition: int
    log_offset: int

    def to_json(self) -> bytes:
        """One object in one line, JSON within it as JSON."""
        fields = self._asdict()
        for name in ("result", "error", "labels"):
            if fields[name] is not None:
                fields[name] = msgspec.Raw(fields[name].encode())
        return msgspec.json.encode(fields)


class Refused(NamedTuple):
    """A record that is no outcome, or that the sink does not take; kept beside the rows, its bytes untouched."""

    partition: int
    offset: int
    reason: str
    value: bytes | None


@dataclass
class Part:
    """What of a batch lies in one partition, in the order of the log."""

    next_offset: int = 0
    """The first offset that is not in it."""
    rows: list[Row] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)

    def add(self, partition: int, offset: int, value: bytes | None) -> None:
        """Take the record at ``offset``."""
        self.next_offset = offset + 1
        try:
            outcome = decode(value, Outcome)
        except UndecodableRecordError as error:
            self.refused.append(Refused(partition, offset, str(error), value))
        else:
            self.rows.append(_row(outcome, partition, offset))

    def since(self, offset: int) -> "Part":
        """The part from ``offset`` on."""
        return Part(
            self.next_offset,
            [row for row in self.rows if row.log_offset >= offset],
            [each for each in self.refused if each.offset >= offset],
        )


Batch = Mapping[int, Part]
"""By partition."""


class Sink(Protocol):
    """Keeps rows and positions together.

    Blocking: every method does.

    Raises:
        SinkUnavailableError: (every method) away for now; try again.
        SinkError: (every method) it is not what it should be, or refuses.
    """

    most_rows: int
    """Rows above which a batch is not made larger."""
    linger: float
    """Seconds that a batch may wait for more rows."""

    def open(self) -> None:
        """Connect, and create what is missing. Safe to repeat."""

    def claim(self, partition: int) -> int | None:
        """Take a partition over from whoever had it; answers the offset to go on at, ``None`` where there is none yet.

        Delivery: from here on nothing of an earlier owner's is written.
        """

    def write(self, batch: Batch) -> int:
        """Keep everything of ``batch``, or nothing of it; answers how many rows are new to the partitions' positions.

        Delivery: what was kept before is passed over, so that repeating a batch whose fate is unknown is safe.

        Raises:
            SinkFencedError: somebody else has claimed a partition of it since.
        """

    def release(self, partitions: Iterable[int]) -> None:
        """Let go of partitions; does not raise."""

    def close(self) -> None:
        """Disconnect; does not raise."""


def _row(outcome: Outcome, partition: int, offset: int) -> Row:
    return Row(
        outcome.id,
        outcome.generation,
        outcome.type,
        str(outcome.priority),
        str(outcome.state),
        bytes(outcome.result).decode(),
        None if outcome.error is None else msgspec.json.encode(outcome.error).decode(),
        outcome.attempt,
        outcome.max_attempts,
        outcome.created_at,
        outcome.started_at,
        outcome.finished_at,
        msgspec.json.encode(outcome.labels).decode(),
        outcome.ordering_key,
        outcome.replay_id,
        outcome.worker,
        partition,
        offset,
    )
