"""What a client asks about replays and dead letters, and how it reads the answers."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote, urlencode

import msgspec

from laneway.client.operations import Operation, Request, decoded
from schemas.dead_letters import DeadLetter, DeadLetterPage
from schemas.replay import ReplayView, Wish
from schemas.replay_diff import ReplayDiff
from schemas.submission import said

_JSON = {"Content-Type": "application/json"}


def make_replay(select: Mapping[str, Any], options: Mapping[str, Any], path: str) -> Operation[ReplayView]:
    """Ask for a replay."""
    content = msgspec.json.encode({"select": said(select), **options})
    # A plan is made before the answer where that is quick.
    response = yield Request(method="POST", path=path, headers=_JSON, content=content, held=timedelta(seconds=10))
    return decoded(response, ReplayView)


def get_replay(replay_id: str, held: timedelta) -> Operation[ReplayView]:
    """Ask for a replay."""
    params = {"wait": f"{held.total_seconds():g}"} if held else {}
    response = yield Request(method="GET", path=_path(replay_id), params=params, held=held)
    return decoded(response, ReplayView)


def diff_replay(replay_id: str, limit: int) -> Operation[ReplayDiff]:
    """Ask what a shadow replay found."""
    params = {"limit": str(limit)}
    # Everything is read for the counts.
    response = yield Request(method="GET", path=diff_path(replay_id), params=params, held=timedelta(minutes=5))
    return decoded(response, ReplayDiff)


def list_replays() -> Operation[list[ReplayView]]:
    """Ask for the latest replays."""
    response = yield Request(method="GET", path="/api/replays")
    return decoded(response, dict[str, list[ReplayView]])["replays"]


def ask_replay(replay_id: str, wish: Wish) -> Operation[ReplayView]:
    """Have a replay run, paused or aborted."""
    if wish is Wish.ABORT:
        response = yield Request(method="DELETE", path=_path(replay_id))
    else:
        response = yield Request(method="POST", path=f"{_path(replay_id)}/{wish.value}")
    return decoded(response, ReplayView)


def dead_letters(types: Iterable[str], options: Mapping[str, Any]) -> Operation[DeadLetterPage]:
    """Ask for dead letters."""
    given = [(name, value) for name, value in options.items() if value is not None]
    pairs = [("type", each) for each in types]
    pairs += [(name, value.isoformat() if isinstance(value, datetime) else str(value)) for name, value in given]
    # A type may be said more than once, which a mapping of parameters cannot.
    path = f"/api/dlq?{urlencode(pairs)}" if pairs else "/api/dlq"
    response = yield Request(method="GET", path=path, held=timedelta(seconds=30))
    return decoded(response, DeadLetterPage)


def dead_letter(position: str) -> Operation[DeadLetter]:
    """Ask for one."""
    response = yield Request(method="GET", path=f"/api/dlq/{quote(position, safe='')}")
    return decoded(response, DeadLetter)


def diff_path(replay_id: str) -> str:
    """Where a shadow replay's findings are."""
    return f"{_path(replay_id)}/diff"


def _path(replay_id: str) -> str:
    return f"/api/replays/{quote(replay_id, safe='')}"
