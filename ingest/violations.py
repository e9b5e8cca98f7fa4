"""What is said against a task, as places and reasons."""

import re
from typing import Final

from schemas.errors import InvalidTaskError

_PLACE: Final = re.compile(r"^(?P<why>.*?) - at (?:`(?P<part>key)` in )?`\$(?P<path>.*)`$", re.DOTALL)
_FIELD: Final = re.compile(
    r"^Object (?P<what>missing required field|contains unknown field) `(?P<name>.*)`$", re.DOTALL
)
_STEP: Final = re.compile(r"\.(?P<name>[^.\[]+)|\[(?P<index>\d+|\.\.\.)\]")


def invalid(at: str, why: str) -> InvalidTaskError:
    """The refusal of a body for what stands at a JSON Pointer."""
    return InvalidTaskError(f"{at}: {why}", violations=[{"at": at, "why": why}])


def violation(message: str) -> dict[str, str]:
    """A message of msgspec's as ``{"at": JSON Pointer, "why": …}``.

    Inside an object of free keys msgspec does not say which key it was; the pointer then names the object.
    """
    path, why = "", message
    place = _PLACE.match(message)
    if place:
        path, why = place["path"], place["why"]
        if place["part"]:
            why = f"key: {why}"
    at = "".join(
        f"/{_escape(step['name'] or step['index'])}" for step in _STEP.finditer(path) if step["index"] != "..."
    )
    field = _FIELD.match(why)
    if field:
        at += f"/{_escape(field['name'])}"
        why = "required, but missing" if field["what"].startswith("missing") else "no such field"
    return {"at": at, "why": why}


def _escape(name: str) -> str:
    """RFC 6901."""
    return name.replace("~", "~0").replace("/", "~1")
