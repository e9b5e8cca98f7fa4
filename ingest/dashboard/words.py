"""What the pages say: durations, numbers, states and outcomes, in words. No I/O."""

import json
import re
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import urlencode

import msgspec
from markupsafe import Markup, escape

from schemas.control import Cancelled
from schemas.status import State

NOTHING: Final = "\u2013"
"""A dash, where there is nothing to tell."""
FOLD_AT: Final = 4_000
"""Characters of a text that a page shows at once."""
LINE_AT: Final = 240
"""Characters of a text in a table or a list."""

STATE_WORDS: Final[dict[State, str]] = {
    State.SCHEDULED: "scheduled",
    State.QUEUED: "queued",
    State.RUNNING: "running",
    State.RETRYING: "retrying",
    State.SUCCEEDED: "succeeded",
    State.DEAD_LETTERED: "dead-lettered",
    State.CANCELLED: "cancelled",
    State.EXPIRED: "expired",
}

CANCELLED_WORDS: Final[dict[Cancelled, str]] = {
    Cancelled.BEFORE_START: "Cancelled before it started. It will not run.",
    Cancelled.WHILE_RUNNING: "It is running: its handler was told, and is stopped if it does not end by itself.",
    Cancelled.TOO_LATE: "Too late: it had ended already.",
    Cancelled.REQUESTED: "Asked for. No worker has answered yet; once one has the task, it will not start it.",
}

_TICKS: Final = re.compile(r"`([^`]+)`")
_UNITS: Final = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def duration(value: timedelta | float | None) -> str:
    """A duration in at most two units: ``4 min 12 s``; below ten seconds with what counts there: ``310 ms``."""
    if value is None:
        return NOTHING
    seconds = value.total_seconds() if isinstance(value, timedelta) else float(value)
    if seconds < 0:
        return "0 s"
    if seconds < 1:
        return f"{round(seconds * 1000)} ms"
    if seconds < 10:
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    parts: list[str] = []
    left = round(seconds)
    for size, unit in _UNITS:
        count, left = divmod(left, size)
        if count or parts:
            parts.append(f"{count} {unit}")
        if len(parts) == 2:
            break
    return " ".join(part for part in parts if not part.startswith("0 "))


def number(value: float | None) -> str:
    """A number with thin spaces between thousands; rates with as many digits as they are worth."""
    if value is None:
        return NOTHING
    if value % 1:
        return f"{value:.2f}" if value < 10 else f"{value:,.1f}".replace(",", "\u202f")
    return f"{int(value):,}".replace(",", "\u202f")


def plural(count: int, one: str, many: str | None = None) -> str:
    """``1 task``, ``12 tasks``."""
    return f"{number(count)} {one if count == 1 else many or one + 's'}"


def short_id(task_id: str) -> str:
    """The part of a UUIDv7 that differs from its neighbours."""
    return f"…{task_id[-12:]}" if len(task_id) > 16 else task_id


def shortened(text: str | None, limit: int = LINE_AT) -> str:
    """A text on one line, cut where it is long."""
    line = " ".join((text or "")[: limit * 4].split())
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


def pretty_json(raw: bytes | str) -> str:
    """JSON laid out for the eye; numbers and strings stay as they are written, however large."""
    content = bytes(raw) if not isinstance(raw, str) else raw.encode()
    try:
        return msgspec.json.format(content, indent=2).decode("utf-8", "replace")
    except msgspec.DecodeError:
        return content.decode("utf-8", "replace")


def ticked(text: str) -> Markup:
    """A text of ours, with what stands between backticks as code."""
    return Markup(_TICKS.sub(r"<code>\1</code>", str(escape(text))))  # noqa: S704  (escaped before)


def pretty(value: Any) -> str:
    """A schema, or another value of ours, as JSON for the eye."""
    return json.dumps(value, indent=2, ensure_ascii=False)


def iso(at: datetime) -> str:
    """A time for machines."""
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def clock(at: datetime) -> str:
    """A time for people, as long as no script has made it relative to theirs."""
    return f"{at:%Y-%m-%d %H:%M:%S} UTC" if at.utcoffset() == timedelta(0) else f"{at:%Y-%m-%d %H:%M:%S %Z}"


def address(path: str, query: Iterable[tuple[str, object | None]] = ()) -> str:
    """An address with what is said of the query."""
    said = [(name, str(value)) for name, value in query if value is not None and value != ""]
    return f"{path}?{urlencode(said)}" if said else path
