"""What a record that will not be tried again carries to its dead-letter topic."""

from collections.abc import Iterable
from datetime import datetime

from schemas import codec
from schemas import headers as names
from schemas.headers import Headers, timestamp
from schemas.status import ErrorInfo


def dead_letter_headers(
    original: Iterable[tuple[str, bytes | str | None]] | None,
    *,
    reason: str,
    error: ErrorInfo,
    errors: tuple[ErrorInfo, ...],
    attempt: int | None,
    source: str,
    worker: str,
    at: datetime,
) -> Headers:
    """The original headers with where from, why, when and by whom.

    Args:
        original: headers of the source record, kept where ours do not replace them.
        reason: in a word, such as ``rejected``, ``exhausted``, ``undecodable``.
        error: the last one.
        errors: all of them, oldest first.
        attempt: number of the last run, or ``None`` for a record that was no task.
        source: position of the source record.
        worker: who set it aside.
        at: when.
    """
    ours: Headers = [
        (names.DLQ_REASON, reason.encode()),
        (names.DLQ_ERROR, codec.encode(error)),
        (names.DLQ_SOURCE, source.encode()),
        (names.DLQ_AT, timestamp(at)),
        (names.DLQ_WORKER, worker.encode()),
    ]
    if errors:
        ours.append((names.ERRORS, codec.encode(errors)))
    if attempt is not None:
        ours.append((names.ATTEMPT, str(attempt).encode()))
    replaced = {name for name, _ in ours}
    kept = [
        (name, value.encode() if isinstance(value, str) else value)
        for name, value in original or ()
        if name not in replaced and value is not None
    ]
    return kept + ours
