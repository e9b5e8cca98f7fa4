"""The routes of replays and dead letters."""

from typing import Any, Final

from ingest.openapi.parts import (
    CANNOT_KNOW,
    MALFORMED,
    NOT_TAKEN,
    answer,
    answers,
    content,
    object_of,
    parameter,
    ref,
    route,
)
from schemas.dead_letters import DeadLetter, DeadLetterPage
from schemas.replay import ReplaySubmission, ReplayView
from schemas.replay_diff import ReplayDiff

_ID: Final = parameter("id", "path", "The replay's id.")
_WAIT: Final = parameter(
    "wait",
    "query",
    "Hold the answer, at most this many seconds: of `POST`"
    " until the plan is made, of `GET` until nothing is left to do.",
    {"type": "number", "minimum": 0},
)
_NO_REPLAY: Final = "No replay of this id."

RECORDS: Final = (ReplaySubmission, ReplayView, ReplayDiff, DeadLetter, DeadLetterPage)
MAKE_REPLAY: Final = route(
    202,
    answers(
        {202: answer("Kept. `plan` is absent while it is being made.", "ReplayView", location="Where the replay is.")},
        _400=MALFORMED,
        _404="Unknown type; `known` names those that there are.",
        _413="The body is too large.",
        _422="It selects everything, nothing, what has not ended, or cannot be understood.",
        _503=NOT_TAKEN,
    ),
    _WAIT,
    body=content(ref("ReplaySubmission")),
)
LIST_REPLAYS: Final = route(
    200, answers({200: answer("The latest hundred, newest first.", "ReplayList")}, _503=CANNOT_KNOW)
)
GET_REPLAY: Final = route(
    200,
    answers({200: answer("The replay.", "ReplayView")}, _400=MALFORMED, _404=_NO_REPLAY, _503=CANNOT_KNOW),
    _ID,
    _WAIT,
)
DIFF_REPLAY: Final = route(
    200,
    answers(
        {
            200: {
                "description": "Every count, and the first `limit` tasks that differ. As NDJSON every task that"
                " differs, a line each, and last the counts: an answer without that line broke off.",
                "content": {**content(ref("ReplayDiff")), **content(ref("ReplayDiffLine"), "application/x-ndjson")},
            }
        },
        _400=MALFORMED,
        _404=_NO_REPLAY,
        _409="It is no shadow replay.",
        _503=CANNOT_KNOW,
    ),
    _ID,
    parameter("limit", "query", "Most that are listed in JSON.", {"type": "integer", "minimum": 1, "maximum": 1000}),
)
ASK_REPLAY: Final = route(
    202,
    answers(
        {202: answer("On record; it takes effect within a second.", "ReplayView")},
        _404=_NO_REPLAY,
        _409="It has ended, or there is nothing to pause.",
        _503=NOT_TAKEN,
    ),
    _ID,
)
LIST_DEAD_LETTERS: Final = route(
    200,
    answers(
        {200: answer("The newest, and how many there are of each error.", "DeadLetterPage")},
        _400=MALFORMED,
        _503=CANNOT_KNOW,
    ),
    parameter("type", "query", "Of this type; again for more."),
    parameter("id", "query", "Of this task; again for more."),
    parameter("error", "query", "Class of the error, or part of its text."),
    parameter("since", "query", "Set aside at this time or later.", {"type": "string", "format": "date-time"}),
    parameter("until", "query", "Set aside before this time.", {"type": "string", "format": "date-time"}),
    parameter("limit", "query", "Most that are listed.", {"type": "integer", "minimum": 1, "maximum": 1000}),
)
SHOW_DEAD_LETTER: Final = route(
    200,
    answers(
        {200: answer("The dead letter.", "DeadLetter")},
        _400=MALFORMED,
        _404="No dead letter lies there.",
        _503=CANNOT_KNOW,
    ),
    parameter("position", "path", "Where it lies, as `topic-partition@offset`."),
)
REDRIVE: Final = MAKE_REPLAY
SCHEMAS: Final[dict[str, Any]] = {
    "ReplayDiffLine": {"anyOf": [ref("ShadowDifference"), ref("ReplayDiff")]},
    "ReplayList": object_of({"replays": {"type": "array", "items": ref("ReplayView")}}, ["replays"]),
}
