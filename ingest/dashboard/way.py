"""The way of a task as steps for people, from its events. No I/O."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from ingest.dashboard.words import number
from schemas.outcome import Event
from schemas.status import ErrorInfo, State, Status

Kind = Literal["ok", "bad", "now", "plain"]


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step: what happened, when, and what there is to say about it."""

    title: str
    kind: Kind
    at: datetime | None
    generation: int = 1
    after: timedelta | None = None
    """Since the step before."""
    worker: str | None = None
    position: str | None = None
    due: datetime | None = None
    error: ErrorInfo | None = None
    traceback: str | None = None


def steps_of(events: Sequence[Event]) -> list[Step]:
    """The steps that events tell, oldest first; of the progress reports of a run only the latest."""
    told = [
        event
        for event, following in zip(events, [*events[1:], None], strict=True)
        if not (
            _is_progress(event) and following is not None and _is_progress(following) and _same_run(event, following)
        )
    ]
    steps: list[Step] = []
    for place, event in enumerate(told):
        before = told[place - 1] if place else None
        steps.append(
            Step(
                title=_title(event, first=before is None or before.generation != event.generation),
                kind=_kind(event, last=place == len(told) - 1),
                at=event.at,
                generation=event.generation,
                after=event.at - before.at if before is not None and before.generation == event.generation else None,
                worker=event.worker if event.state is State.RUNNING and event.progress is None else None,
                position=event.position,
                due=event.not_before if event.state in (State.SCHEDULED, State.RETRYING) else None,
                error=event.error if event.state is not State.SUCCEEDED else None,
                traceback=event.traceback,
            )
        )
    return steps


def steps_of_status(status: Status) -> list[Step]:
    """What the status alone says of the way: enough until the events are read."""
    steps = [Step(title="accepted", kind="ok", at=status.created_at)]
    steps += [
        Step(title=f"attempt {error.attempt or place} failed", kind="bad", at=error.at, error=error)
        for place, error in enumerate(status.errors, start=1)
    ]
    if status.state is State.RUNNING:
        steps.append(
            Step(title=f"attempt {status.attempt} runs", kind="now", at=status.started_at, worker=status.worker)
        )
    elif status.state.final:
        kind: Kind = "ok" if status.state is State.SUCCEEDED else "bad"
        steps.append(Step(title=_ENDS[status.state], kind=kind, at=status.finished_at or status.updated_at))
    elif status.state is not State.QUEUED:
        due = status.not_before
        steps.append(Step(title=_WAITS[status.state], kind="now", at=status.updated_at, due=due))
    return steps


_ENDS = {
    State.SUCCEEDED: "succeeded",
    State.DEAD_LETTERED: "dead-lettered",
    State.CANCELLED: "cancelled",
    State.EXPIRED: "expired",
}
_WAITS = {State.SCHEDULED: "waits until it is due", State.RETRYING: "waits for its next attempt"}


def _is_progress(event: Event) -> bool:
    return event.state is State.RUNNING and event.progress is not None


def _same_run(one: Event, other: Event) -> bool:
    return (one.generation, one.attempt, one.deferrals) == (other.generation, other.attempt, other.deferrals)


def _title(event: Event, *, first: bool) -> str:
    if event.state is State.RUNNING:
        if event.progress is None:
            return f"attempt {event.attempt} started"
        message = f": {event.progress.message}" if event.progress.message else ""
        return f"{number(round(event.progress.percent, 1))} % done{message}"
    if event.state is State.RETRYING:
        return f"attempt {event.attempt} failed" if event.error is not None else f"attempt {event.attempt} put off"
    if event.state.final:
        return _ENDS[event.state]
    name = "accepted" if event.generation == 1 else "run again"
    if event.state is State.SCHEDULED:
        return f"{name}, not due yet" if first else "not due yet"
    return name if first else "queued"


def _kind(event: Event, *, last: bool) -> Kind:
    if event.state is State.SUCCEEDED:
        return "ok"
    if event.error is not None or event.state in (State.DEAD_LETTERED, State.EXPIRED, State.CANCELLED):
        return "bad"
    return "now" if last else "plain"
