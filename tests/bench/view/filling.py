"""Tasks as a busy system has them, straight into the view."""

import random
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Final

from ingest.view.store import StatusRecord, ViewStore
from schemas.codec import encode
from schemas.status import ErrorInfo, State, Status
from schemas.task import Priority

TYPES: Final = tuple(
    f"{room}.{work}" for room in ("billing", "mail", "media", "crm") for work in ("a", "b", "c", "d", "e")
)
TENANTS: Final = 500
RARE_TYPE: Final = "legacy.import"
SPAN: Final = timedelta(days=6)
"""Between the oldest task and the newest."""
_BATCH: Final = 5_000
_STATES: Final = (
    (State.SUCCEEDED, 94),
    (State.QUEUED, 2),
    (State.RUNNING, 1),
    (State.RETRYING, 1),
    (State.CANCELLED, 1),
    (State.DEAD_LETTERED, 1),
)
_FAILURES: Final = (
    ("SMTPDataError", "552 5.2.2 mailbox full"),
    ("TimeoutError", "the upstream did not answer in 30 s"),
    ("KeyError", "'customer_id'"),
)


def statuses(count: int, seed: int) -> Iterator[Status]:
    """``count`` tasks, oldest first; ``cancelled`` is only among the oldest hundredth, and so is one type.

    One in three has a label of 500 tenants, one in a hundred an error.
    """
    chance = random.Random(seed)
    begin = datetime.now(UTC) - SPAN
    states = chance.choices([each for each, _ in _STATES], [share for _, share in _STATES], k=count)
    for place, drawn in enumerate(states):
        at = begin + SPAN * (place / count)
        old = place < count // 100
        state = drawn if drawn is not State.CANCELLED or old else State.SUCCEEDED
        error = None
        if state in (State.RETRYING, State.DEAD_LETTERED):
            kind, message = chance.choice(_FAILURES)
            error = ErrorInfo(type=kind, message=message, retriable=True)
        yield Status(
            id=_id(at, chance),
            type=RARE_TYPE if old and place % 100 == 0 else TYPES[place % len(TYPES)],
            priority=chance.choice((Priority.NORMAL, Priority.NORMAL, Priority.LOW, Priority.HIGH)),
            state=state,
            attempt=int(state is not State.QUEUED),
            max_attempts=5,
            created_at=at,
            updated_at=at + timedelta(seconds=2),
            started_at=at + timedelta(seconds=1),
            error=error,
            errors=() if error is None else (error,),
            labels={"tenant": f"t{chance.randrange(TENANTS)}"} if place % 3 == 0 else {},
        )


def fill(store: ViewStore, count: int, *, seed: int = 7) -> list[str]:
    """Apply so many tasks, and give a thousand of their ids from all over."""
    offset = 0
    ids: list[str] = []
    source = statuses(count, seed)
    while batch := list(islice(source, _BATCH)):
        records = [StatusRecord(0, place, each.id.encode(), encode(each)) for place, each in enumerate(batch, offset)]
        offset += len(records)
        store.apply("status", records, {0: offset})
        ids += [each.id for each in batch[:: max(1, count // 1_000)]]
    return ids


def _id(at: datetime, chance: random.Random) -> str:
    value = int(at.timestamp() * 1000) << 80 | 7 << 76 | chance.getrandbits(12) << 64 | 2 << 62 | chance.getrandbits(62)
    return str(uuid.UUID(int=value))
