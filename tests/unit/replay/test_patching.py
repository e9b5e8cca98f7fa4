"""A merge patch does what RFC 7396 says, a diff tells it, and a request runs no function that nobody offered."""

import copy
from typing import Any

import pytest

from ingest.replay.patching import MAX_DIFF, Patch, diff, merge_patch, transform_of
from schemas.errors import InvalidReplayError
from tests.support import replay_handlers

# RFC 7396, appendix A.
CASES: list[tuple[Any, Any, Any]] = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    (["a", "b"], ["c", "d"], ["c", "d"]),
    ({"a": "b"}, ["c"], ["c"]),
    ({"a": "foo"}, None, None),
    ({"a": "foo"}, "bar", "bar"),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]


@pytest.mark.parametrize(("target", "patch", "wanted"), CASES)
def test_merge_patch(target: Any, patch: Any, wanted: Any) -> None:
    before = copy.deepcopy((target, patch))
    assert merge_patch(target, patch) == wanted
    assert (target, patch) == before


def test_the_function_follows_the_patch() -> None:
    patch = Patch({"kind": "odd"}, f"{replay_handlers.__name__}:shouted")
    assert patch.changes
    assert patch.apply({"n": 1}) == {"n": 1, "kind": "ODD"}
    assert not Patch(None, None).changes


@pytest.mark.parametrize(
    "name",
    ["os:system", "no.such.module:f", f"{replay_handlers.__name__}:nothing", f"{replay_handlers.__name__}:Reject"],
)
def test_only_a_modules_own_function_is_run(name: str) -> None:
    with pytest.raises(InvalidReplayError, match="transform"):
        transform_of(name)


def test_a_diff_names_each_value_that_differs() -> None:
    before = {"a": 1, "b": {"c/d": "x", "e": True}, "gone": [1]}
    after = {"a": 1, "b": {"c/d": "y", "e": 1}, "new": None}
    assert diff(before, after) == ['~ /b/c~1d: "x" → "y"', "~ /b/e: true → 1", "- /gone: [1]", "+ /new: null"]
    assert diff(before, before) == []
    assert diff("a", "b") == ['~ /: "a" → "b"']
    assert len(diff({}, {str(n): n for n in range(1_000)})) == MAX_DIFF + 1
