"""Changing when a task is due."""

from typing import Final

from ingest.openapi.parts import CANNOT_KNOW, GONE, ID, MALFORMED, UNKNOWN, answer, answers, content, ref, route

CHANGE_DUE: Final = route(
    200,
    answers(
        {
            200: answer("It is due at the new time.", "Status"),
            202: answer(
                "No worker has answered yet: once one has the task, it is due at that time, unless it was before.",
                "Status",
            ),
        },
        _400=MALFORMED,
        _404=UNKNOWN,
        _409="It does not wait for a time that can be changed.",
        _410=GONE,
        _422="No time that the task can be due at.",
        _503=CANNOT_KNOW,
    ),
    ID,
    body=content(ref("DueSubmission")),
)
