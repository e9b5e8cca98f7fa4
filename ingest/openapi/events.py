"""What is told of a task's way."""

from typing import Final

from ingest.openapi.parts import CANNOT_KNOW, GONE, ID, MALFORMED, UNKNOWN, Route, answer, answers, parameter, route

TIMELINE: Final[Route] = route(
    200,
    answers(
        {200: answer("Every transition and progress report, of all its generations, oldest first.", "Timeline")},
        _404=UNKNOWN,
        _410=GONE,
        _503=CANNOT_KNOW,
    ),
    ID,
)
FOLLOW: Final[Route] = route(
    200,
    answers(
        {
            200: {
                "description": "Server-sent events, from the first or from what follows the last event id: each is"
                " called after the state that it tells of, or `progress`, and has an event record as its data. The last"
                " one, `end`, has the status document. A stream that ends without it goes on with the last id. One that"
                " cannot tell all that was before begins with `incomplete`.",
                "content": {"text/event-stream": {"schema": {"type": "string"}}},
            },
            204: {"description": "Nothing follows the last event id: the task is final."},
        },
        _400=MALFORMED,
        _404=UNKNOWN,
        _410=GONE,
        _429="More streams are open than `LANEWAY_API__MAX_STREAMS`.",
        _503=CANNOT_KNOW,
    ),
    ID,
    parameter("Last-Event-ID", "header", "Id of the last event that arrived; EventSource sends it by itself."),
    parameter("last_event_id", "query", "The same, for those who cannot set headers."),
)
