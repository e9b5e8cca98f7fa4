"""The route about how many tasks there are."""

from typing import Any, Final

from ingest.openapi.parts import CANNOT_KNOW, Route, answer, answers, object_of, ref, route

COUNTS: Final[Route] = route(
    200,
    answers({200: answer("What the status view holds, by type, priority and state.", "Counts")}, _503=CANNOT_KNOW),
)
_COUNT: Final = object_of(
    {
        "type": {"type": "string"},
        "priority": ref("Priority"),
        "state": ref("State"),
        "count": {"type": "integer", "minimum": 1},
    },
    ["type", "priority", "state", "count"],
)
SCHEMAS: Final[dict[str, Any]] = {"Counts": object_of({"counts": {"type": "array", "items": _COUNT}}, ["counts"])}
