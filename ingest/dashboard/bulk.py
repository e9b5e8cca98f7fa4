"""Calling off many tasks, step by step. The place in the listing travels with the page: a restart forgets nothing."""

import asyncio
import time
from datetime import UTC, datetime
from typing import Final, NamedTuple

from ingest.dashboard.filters import Filter
from ingest.lookup import state_of
from ingest.runtime import Runtime
from ingest.view.listing import MAX_LIMIT
from ingest.view.reader import ViewReader
from schemas.codec import decode
from schemas.control import Cancelled
from schemas.errors import AdmissionError
from schemas.status import State, Status

STEP: Final = 200
"""Tasks that one step asks for, about."""
FAILED: Final = "failed"
OUTCOMES: Final = (*(outcome.value for outcome in Cancelled), FAILED)
_AT_ONCE: Final = 50
_MOMENT: Final = 0.15
_PAGES: Final = 20
"""Pages that a step looks through for tasks that have not ended."""


class Count(NamedTuple):
    """How many tasks a filter finds, as far as was looked."""

    states: dict[State, int]
    complete: bool
    """Whether all were looked at; else there may be more."""


class Step(NamedTuple):
    """What a step came to."""

    outcomes: dict[str, int]
    """How many tasks, by outcome."""
    cursor: str | None
    """Where the next step begins, if there is one."""


async def count(view: ViewReader, chosen: Filter) -> Count:
    """Count what a filter finds, for a moment."""
    until = time.monotonic() + _MOMENT
    states: dict[State, int] = {}
    while True:
        page = await view.page(chosen.listing(datetime.now(UTC), limit=MAX_LIMIT))
        for state in map(state_of, page.documents):
            states[state] = states.get(state, 0) + 1
        if page.cursor is None or time.monotonic() > until:
            return Count(states, page.cursor is None)
        chosen = chosen.at(page.cursor)


async def cancel_step(runtime: Runtime, chosen: Filter) -> Step:
    """Call off the next tasks of the filter that have not ended."""
    free = asyncio.Semaphore(_AT_ONCE)

    async def one(task_id: str) -> str:
        async with free:
            try:
                return (await runtime.control.cancel(task_id)).outcome.value
            except AdmissionError:
                return FAILED  # the others are asked all the same, and the page says how many were not

    asked: list[asyncio.Task[str]] = []
    cursor = chosen.cursor
    for _ in range(_PAGES):
        page = await runtime.view.page(chosen.at(cursor).listing(datetime.now(UTC), limit=STEP))
        found = (decode(document, Status) for document in page.documents)
        asked += [asyncio.create_task(one(status.id)) for status in found if not status.state.final]
        cursor = page.cursor
        if cursor is None or len(asked) >= STEP:
            break
    outcomes: dict[str, int] = {}
    for outcome in await asyncio.gather(*asked):
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
    return Step(outcomes, cursor)
