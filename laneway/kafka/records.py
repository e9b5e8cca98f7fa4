"""Records on their way to the log, and what takes them; without a client."""

import asyncio
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from schemas.errors import LanewayError
from schemas.headers import Headers


class OutgoingRecord(NamedTuple):
    """A record to be appended to the log."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: Headers


class RecordMetadata(NamedTuple):
    """Where an acknowledged record lies."""

    partition: int
    offset: int


class TableRecord(NamedTuple):
    """One record of a table; without a value the key is gone from it."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None


Then = Callable[[LanewayError | None, int], None]
"""Gets the first error, or ``None`` and the offset of the first record."""


class RecordSink(Protocol):
    """Takes the records of a worker; see ``RecordProducer`` for what holds."""

    def append(self, records: Sequence[OutgoingRecord], then: Then, *, urgent: bool = False) -> None:
        """Have records appended, soon or at once, and ``then`` called when each has its answer."""

    def send(self, records: Sequence[OutgoingRecord]) -> "asyncio.Future[list[RecordMetadata]]":
        """Have records appended; the future tells where they lie."""

    async def close(self, *, within: float = 10.0) -> None:
        """Wait until what was sent is answered, and stop."""
