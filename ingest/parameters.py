"""Query parameters as the routes take them."""

import math
from datetime import UTC, datetime
from enum import StrEnum
from typing import TypeVar

from starlette.datastructures import QueryParams

from ingest.view.listing import MAX_LIMIT, Listing
from schemas.errors import MalformedRequestError
from schemas.replay import Selection
from schemas.status import State
from schemas.task import Priority

Choice = TypeVar("Choice", bound=StrEnum)

_MOST_DIGITS = 6
_OF_DEAD_LETTERS = frozenset({"type", "id", "error", "since", "until", "limit"})
_KNOWN = frozenset({"type", "state", "priority", "since", "until", "q", "limit", "cursor"})


def wait_of(query: QueryParams, longest: float) -> float:
    """``?wait=`` in seconds, capped.

    Raises:
        MalformedRequestError: no number of seconds.
    """
    text = query.get("wait")
    if text is None:
        return 0.0
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise MalformedRequestError(f"wait={text[:40]!r}: want seconds, zero or more")
    return min(seconds, longest)


def generation_of(query: QueryParams) -> int | None:
    """``?generation=``; ``None``: the present one.

    Raises:
        MalformedRequestError: no number from 1 on.
    """
    text = query.get("generation")
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS and int(text) > 0):
        raise MalformedRequestError(f"generation={text[:40]!r}: want a number, from 1 on")
    return int(text)


def tries_of(value: bytes | None) -> int | None:
    """``Laneway-Try``, where the request says it.

    Raises:
        MalformedRequestError: no number, or none from 1 on.
    """
    if value is None:
        return None
    if not value.isdigit() or len(value) > _MOST_DIGITS or int(value) == 0:
        raise MalformedRequestError(
            f"Laneway-Try: {value[:40].decode('latin-1')!r}: want the number of the try, from 1 on"
        )
    return int(value)


def listing_of(query: QueryParams) -> Listing:
    """What ``GET /api/tasks`` is asked for.

    Raises:
        MalformedRequestError: an unknown parameter, or a value that cannot be.
    """
    labels: dict[str, str] = {}
    for name, value in query.multi_items():
        if name.startswith("label.") and len(name) > len("label."):
            labels[name.removeprefix("label.")] = value
        elif name not in _KNOWN:
            raise MalformedRequestError(
                f"unknown parameter {name[:40]!r}; known: {', '.join(sorted(_KNOWN))}, label.<name>"
            )
    return Listing(
        type=query.get("type"),
        state=_choice(query, "state", State),
        priority=_choice(query, "priority", Priority),
        labels=labels,
        since=_time(query, "since"),
        until=_time(query, "until"),
        q=query.get("q") or None,
        limit=limit_of(query),
        cursor=query.get("cursor") or None,
    )


def dead_letters_of(query: QueryParams) -> Selection:
    """What ``GET /api/dlq`` is asked for.

    Raises:
        MalformedRequestError: an unknown parameter, or a value that cannot be.
    """
    for name in query:
        if name not in _OF_DEAD_LETTERS:
            raise MalformedRequestError(
                f"unknown parameter {name[:40]!r}; known: {', '.join(sorted(_OF_DEAD_LETTERS))}"
            )
    return Selection(
        types=query.getlist("type") or None,
        ids=query.getlist("id") or None,
        error=query.get("error") or None,
        since=_time(query, "since"),
        until=_time(query, "until"),
    )


def _choice(query: QueryParams, name: str, choices: type[Choice]) -> Choice | None:
    text = query.get(name)
    if text is None:
        return None
    try:
        return choices(text)
    except ValueError as error:
        raise MalformedRequestError(f"{name}={text[:40]!r}: want one of {', '.join(choices)}") from error


def limit_of(query: QueryParams) -> int:
    """``?limit=``.

    Raises:
        MalformedRequestError: no number, or too large.
    """
    text = query.get("limit", "50")
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:9]) <= MAX_LIMIT or len(text) > 9:
        raise MalformedRequestError(f"limit={text[:40]!r}: want 1 to {MAX_LIMIT}")
    return int(text)


def _time(query: QueryParams, name: str) -> datetime | None:
    text = query.get(name)
    if text is None:
        return None
    try:
        # A plus sign that was not escaped in the address has become a space.
        at = datetime.fromisoformat(text.replace(" ", "+"))
    except ValueError as error:
        raise MalformedRequestError(f"{name}={text[:40]!r}: want a time such as 2026-01-31T12:00:00Z") from error
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)
