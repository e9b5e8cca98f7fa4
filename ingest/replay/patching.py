"""Changing payloads on their way back: a JSON merge patch, a user's function, and what they change. No I/O."""

import sys
from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec

from schemas.errors import InvalidReplayError

MAX_DIFF: Final = 50
"""Lines of one diff."""
_MAX_VALUE: Final = 200
_ABSENT: Final = object()


def merge_patch(target: Any, patch: Any) -> Any:
    """``target`` with a JSON merge patch applied (RFC 7396); neither is changed."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), value)
    return merged


def transform_of(name: str) -> Callable[[Any], Any]:
    """The function that ``module:function`` names, of a module that is there already.

    A request decides which function runs, so it may only be one of a module that whoever started the process named,
    and one that is written in it.

    Raises:
        InvalidReplayError: there is none; says why.
    """
    module_name, _, function_name = name.partition(":")
    module = sys.modules.get(module_name)
    function = getattr(module, function_name, None)
    if module is None:
        raise InvalidReplayError(f"transform: {module_name!r} is not here; start the API with --import {module_name}")
    if not callable(function) or getattr(function, "__module__", None) != module_name:
        raise InvalidReplayError(f"transform: {module_name} has no function {function_name!r} of its own")
    found: Callable[[Any], Any] = function
    return found


class Patch:
    """What becomes of a payload: the merge patch first, then the function.

    Raises:
        InvalidReplayError: the function is not there.
    """

    def __init__(self, patch: dict[str, Any] | None, transform: str | None) -> None:
        self._patch = patch
        self._transform = None if transform is None else transform_of(transform)

    @property
    def changes(self) -> bool:
        """Whether there is anything to do."""
        return self._patch is not None or self._transform is not None

    def apply(self, payload: Any) -> Any:
        """The payload as it should be.

        Raises:
            Exception: whatever the user's function raises.
        """
        if self._patch is not None:
            payload = merge_patch(payload, self._patch)
        return payload if self._transform is None else self._transform(payload)


def diff(before: Any, after: Any) -> list[str]:
    """What differs, one value a line: ``/pointer: before → after``."""
    lines: list[str] = []
    for line in _differences(before, after, ""):
        if len(lines) == MAX_DIFF:
            lines.append("…")
            break
        lines.append(line)
    return lines


def _differences(before: Any, after: Any, at: str) -> Iterator[str]:
    if isinstance(before, dict) and isinstance(after, dict):
        for name in [*before, *(each for each in after if each not in before)]:
            step = str(name).replace("~", "~0").replace("/", "~1")
            yield from _differences(before.get(name, _ABSENT), after.get(name, _ABSENT), f"{at}/{step}")
    elif before is _ABSENT:
        yield f"+ {at}: {_shown(after)}"
    elif after is _ABSENT:
        yield f"- {at}: {_shown(before)}"
    elif before != after or type(before) is not type(after):
        yield f"~ {at or '/'}: {_shown(before)} → {_shown(after)}"


def _shown(value: Any) -> str:
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= _MAX_VALUE else f"{text[: _MAX_VALUE - 1]}…"
