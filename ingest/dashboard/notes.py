"""What a page says after an action. Addresses carry a word of this list, never a text."""

from typing import Final, NamedTuple

from starlette.datastructures import QueryParams

from ingest.dashboard.words import CANCELLED_WORDS, number
from schemas.control import Cancelled


class Note(NamedTuple):
    """Words for the operator."""

    text: str
    good: bool = True


NOTES: Final[dict[str, Note]] = {
    **{
        f"cancel-{outcome.value}": Note(text, outcome is not Cancelled.TOO_LATE)
        for outcome, text in CANCELLED_WORDS.items()
    },
    "submitted": Note("Accepted: every in-sync replica has it. This page follows it."),
    "same": Note("This is the task that the same key made before; nothing new was made."),
    "paused": Note("The lane is held on every worker. What was running goes on."),
    "resumed": Note("The lane flows again."),
    "schedule-added": Note("The schedule is kept."),
    "schedule-replaced": Note("The schedule was replaced."),
    "schedule-removed": Note("The schedule is gone; tasks that it made go on."),
    "schedule-paused": Note("The schedule makes no tasks until it is resumed."),
    "schedule-resumed": Note("The schedule makes tasks again."),
    "run-again": Note("It runs again in a moment, as its next generation."),
    "redriven": Note("They are being sent back into their lanes; this page follows it."),
    "replay-planned": Note("Planned. Nothing runs yet: look at it, then run it."),
    "replay-run": Note("It runs."),
    "replay-pause": Note("It is paused; what was put back runs."),
    "replay-abort": Note("It is aborted; what was put back runs."),
    "cancelled-many": Note("{count} called off."),
}


def note_of(query: QueryParams) -> Note | None:
    """What the page should say, if anything."""
    found = NOTES.get(query.get("note", ""))
    if found is None:
        return None
    count = query.get("count", "")
    told = number(int(count)) if count.isascii() and count.isdigit() and len(count) < 12 else "Some"
    return Note(found.text.replace("{count}", told), found.good)
