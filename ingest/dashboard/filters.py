"""Which tasks a page shows: its address as a listing, and back."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from starlette.datastructures import QueryParams

from ingest.dashboard.words import address
from ingest.view.listing import Listing
from schemas.errors import MalformedRequestError
from schemas.status import State
from schemas.task import Priority

PAGE: Final = 50
_SPANS: Final = {
    "15m": timedelta(minutes=15),
    "1h": timedelta(hours=1),
    "24h": timedelta(days=1),
    "7d": timedelta(days=7),
}
SPANS: Final = {"15m": "last 15 minutes", "1h": "last hour", "24h": "last 24 hours", "7d": "last 7 days"}
_LABEL: Final = re.compile(r"\s*([^=,]{1,64}?)\s*=\s*([^,]*?)\s*(?:,|$)")


@dataclass(frozen=True)
class Filter:
    """What an address asks for, as it was said."""

    type: str | None = None
    state: State | None = None
    priority: Priority | None = None
    labels: tuple[tuple[str, str], ...] = ()
    since: str | None = None
    """A span of ``SPANS``, or a time."""
    until: str | None = None
    q: str | None = None
    cursor: str | None = None

    @property
    def narrow(self) -> bool:
        """Whether it leaves anything out."""
        return bool(self.type or self.state or self.priority or self.labels or self.since or self.until or self.q)

    @property
    def labels_text(self) -> str:
        """The labels as the form takes them."""
        return ", ".join(f"{name}={value}" for name, value in self.labels)

    def pairs(self) -> list[tuple[str, str]]:
        """The query of its address, without the cursor."""
        said = [
            ("type", self.type),
            ("state", self.state),
            ("priority", self.priority),
            *((f"label.{name}", value) for name, value in self.labels),
            ("since", self.since),
            ("until", self.until),
            ("q", self.q),
        ]
        return [(name, str(value)) for name, value in said if value]

    def href(self, path: str = "/tasks", **other: str | None) -> str:
        """Its address, with something else in it: ``href(state="running")``; ``None`` leaves a part out."""
        pairs = [(name, value) for name, value in self.pairs() if name not in other]
        return address(path, [*pairs, *other.items()])

    def words(self) -> str:
        """The filter as a person would say it."""
        said = [f"{name} {value}" for name, value in self.pairs()]
        return ", ".join(said) or "all tasks"

    def listing(self, now: datetime, *, limit: int = PAGE) -> Listing:
        """What the view is asked for.

        Raises:
            MalformedRequestError: a time that is none.
        """
        return Listing(
            type=self.type,
            state=self.state,
            priority=self.priority,
            labels=dict(self.labels),
            since=_time("since", self.since, now),
            until=_time("until", self.until, now),
            q=self.q,
            limit=limit,
            cursor=self.cursor,
        )

    def at(self, cursor: str | None) -> "Filter":
        """The same from another place on."""
        return replace(self, cursor=cursor)


def filter_of(query: QueryParams | Mapping[str, str]) -> Filter:
    """The filter in an address or a form; what is left empty asks for nothing.

    Raises:
        MalformedRequestError: a value that cannot be.
    """
    labels = [(name.removeprefix("label."), value) for name, value in query.items() if name.startswith("label.")]
    labels += _labels(query.get("labels", ""))
    return Filter(
        type=query.get("type") or None,
        state=State(_choice("state", query.get("state"), list(State))) if query.get("state") else None,
        priority=Priority(_choice("priority", query.get("priority"), list(Priority)))
        if query.get("priority")
        else None,
        labels=tuple(dict(labels).items()),
        since=query.get("since") or None,
        until=query.get("until") or None,
        q=query.get("q") or None,
        cursor=query.get("cursor") or None,
    )


def _labels(text: str) -> list[tuple[str, str]]:
    if not text.strip():
        return []
    found = _LABEL.findall(text)
    if not found or _LABEL.sub("", text).strip():
        raise MalformedRequestError(f"labels {text[:100]!r}: want name=value, name=value")
    return [(name, value) for name, value in found]


def _choice(name: str, text: str | None, choices: list[str]) -> str:
    if text not in choices:
        raise MalformedRequestError(f"{name} {(text or '')[:40]!r}: want one of {', '.join(choices)}")
    return text or ""


def _time(name: str, text: str | None, now: datetime) -> datetime | None:
    if text is None:
        return None
    if text in _SPANS:
        return now - _SPANS[text]
    try:
        at = datetime.fromisoformat(text.replace(" ", "+"))
    except ValueError as error:
        raise MalformedRequestError(f"{name} {text[:40]!r}: want {', '.join(_SPANS)}, or a time") from error
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)
