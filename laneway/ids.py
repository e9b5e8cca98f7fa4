"""Task ids."""

import random
import uuid
from datetime import UTC, datetime
from typing import Final

import uuid_utils

_KEY_NAMESPACE: Final = uuid.UUID("b7a6f9d2-5a0e-5c3c-9c57-1d0f1f9c7a11")
# Seeded by the operating system once; asking it each time is a system call for every request.
_random: Final = random.Random()  # noqa: S311  (trace and request ids are no secrets)


def new_id() -> str:
    """A UUIDv7: unique without asking anybody, and in the order of its making."""
    return str(uuid_utils.uuid7())


def random_hex(size: int) -> str:
    """``size`` random bytes in hexadecimal, for ids that need to be unlike each other and no secret."""
    return f"{_random.getrandbits(8 * size):0{2 * size}x}"


def id_for_key(idempotency_key: str) -> str:
    """The id that an idempotency key decides: the same on every API instance and after every restart."""
    return str(uuid.uuid5(_KEY_NAMESPACE, idempotency_key))


def made_at(task_id: str) -> datetime | None:
    """When a UUIDv7 was made; ``None`` for any other id."""
    try:
        parsed = uuid.UUID(task_id)
    except ValueError:
        return None
    if parsed.version != 7:
        return None
    return datetime.fromtimestamp((parsed.int >> 80) / 1000, UTC)
