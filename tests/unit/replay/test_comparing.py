"""Two ends of a task are the same when state, result as JSON, and class and text of the error are."""

from datetime import UTC, datetime
from typing import Any

import pytest
from msgspec import Raw

from ingest.replay.comparing import Ended, difference
from schemas.replay_diff import EndError
from schemas.status import NULL, State


def ended(state: State = State.SUCCEEDED, result: bytes | None = None, error: EndError | None = None) -> Ended:
    created_at = datetime(2026, 1, 1, tzinfo=UTC)
    raw = NULL if result is None else Raw(result)
    return Ended(id="a", type="t", state=state, result=raw, error=error, created_at=created_at)


FAILED = EndError(type="ValueError", message="no")


@pytest.mark.parametrize(
    ("before", "shadow", "differs"),
    [
        (ended(result=b'{"a": 1, "b": [1.5, null]}'), ended(result=b'{"b":[1.5,null],"a":1}'), []),
        (ended(State.DEAD_LETTERED, error=FAILED), ended(State.DEAD_LETTERED, error=FAILED), []),
        (ended(result=b"1"), ended(result=b"true"), ["result"]),
        (ended(result=b"1"), ended(), ["result"]),
        (ended(result=b"[1, 2]"), ended(result=b"[2, 1]"), ["result"]),
        (ended(result=b"1"), ended(State.DEAD_LETTERED, error=FAILED), ["state", "result", "error"]),
        (ended(State.DEAD_LETTERED, error=FAILED), ended(State.EXPIRED), ["state", "error"]),
        (
            ended(State.DEAD_LETTERED, error=FAILED),
            ended(State.DEAD_LETTERED, error=EndError(type="ValueError", message="yes")),
            ["error"],
        ),
    ],
)
def test_digests_differ_where_the_ends_do(before: Ended, shadow: Ended, differs: list[str]) -> None:
    assert (before.digest != shadow.digest) == bool(differs)
    assert difference(before, shadow, "x-0@1", "y-0@2").differs == differs


def test_what_differs_is_told_value_by_value() -> None:
    told = difference(ended(result=b'{"a":1,"b":2}'), ended(result=b'{"a":1,"b":3,"c":4}'), "x-0@1", "y-0@2")
    assert told.diff == ["~ /result/b: 2 → 3", "+ /result/c: 4"]
    assert (told.before.result, told.shadow.position) == ({"a": 1, "b": 2}, "y-0@2")


def test_long_results_are_told_by_what_differs_alone() -> None:
    long: Any = b'{"a":1,"b":"' + b"x" * 5_000 + b'"}'
    told = difference(ended(result=long), ended(result=long.replace(b"1", b"2")), "x-0@1", "y-0@2")
    assert told.diff == ["~ /result/a: 1 → 2"]
    assert told.before.result is None
