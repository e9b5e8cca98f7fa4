"""The time of day as the worker's parts are given it."""

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The machine's own."""
    return datetime.now(UTC)
