"""When a server that cannot answer now asks to be asked again."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final

DEFAULT_WAIT: Final = timedelta(seconds=10)
"""Where it does not say, or nothing readable."""
MAX_WAIT: Final = timedelta(hours=1)


def retry_after(headers: Mapping[str, str], now: datetime) -> timedelta:
    """How long a server asks to wait: seconds or a date, bounded; ``DEFAULT_WAIT`` where it says nothing readable."""
    said = headers.get("Retry-After", "").strip()
    try:
        wait = timedelta(seconds=int(said)) if said.isdecimal() else parsedate_to_datetime(said) - now
    except (ValueError, TypeError, OverflowError):
        return DEFAULT_WAIT
    return min(max(wait, timedelta(0)), MAX_WAIT)
