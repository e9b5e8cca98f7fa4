"""The route about how everything stands."""

from typing import Any, Final

from ingest.openapi.parts import Route, answer, answers, object_of, ref, route

OVERVIEW: Final[Route] = route(200, answers({200: answer("What the first page of the dashboard shows.", "Overview")}))

_TIME: Final = {"type": "string", "format": "date-time"}
_RATES: Final = {"type": "array", "items": {"type": "number"}}
_ATTENTION: Final = object_of(
    {
        "grave": {"type": "boolean", "description": "Whether work stands still; else it is only worth knowing."},
        "subject": {"type": "string"},
        "said": {"type": "string"},
        "link": {"type": "string", "description": "Path of the page where it is dealt with."},
    },
    ["grave", "subject", "said", "link"],
)
_HOUR: Final = object_of(
    {"first": _TIME, "accepted": _RATES, "succeeded": _RATES, "retrying": _RATES, "failed": _RATES},
    ["first", "accepted", "succeeded", "retrying", "failed"],
) | {
    "type": ["object", "null"],
    "description": "Tasks a second in each of 60 minutes from `first` on, by when they were accepted and the state"
    " that they are in now; the last minute is not over. Null while it is being read.",
}
_SOON: Final = "Null where that is not known yet, or cannot be."
SCHEMAS: Final[dict[str, Any]] = {
    "Overview": object_of(
        {
            "at": _TIME,
            "attention": {"type": "array", "items": _ATTENTION, "description": "What needs somebody, the grave first."},
            "hour": _HOUR,
            "lanes": {"type": ["array", "null"], "items": ref("Lane"), "description": _SOON},
            "workers": {"type": ["array", "null"], "items": ref("WorkerView"), "description": _SOON},
        },
        ["at", "attention", "hour", "lanes", "workers"],
    )
}
