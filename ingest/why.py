"""Why a task is where it is."""

import asyncio
from datetime import UTC, datetime
from typing import NamedTuple

from ingest.control import ControlDesk
from ingest.lookup import Lookup
from ingest.view.reader import ViewReader
from laneway.kafka.lags import LaneLags
from schemas.codec import decode
from schemas.control import LaneControl
from schemas.errors import BrokerUnavailableError, UnavailableError
from schemas.explanation import Explanation, Reason, Why
from schemas.settings import Settings
from schemas.status import State, Status
from schemas.task import Lane
from schemas.topics import partition_of


class Surroundings(NamedTuple):
    """What a task that is not under way depends on."""

    control: LaneControl | None
    """What was asked of its lane last."""
    manned: bool
    """Whether any worker takes from its lane."""
    ahead: int | None
    """Estimate of the records before it; ``None`` unless it lies in its lane."""
    behind: Status | None = None
    """The earlier task of its ordering key that it waits for."""


class Explainer:
    """Tells why tasks are where they are.

    Args:
        settings: of the process.
        lookup: finds their statuses.
        control: knows which lanes are held.
        view: knows which tasks have one ordering key.
    """

    def __init__(self, settings: Settings, lookup: Lookup, control: ControlDesk, view: ViewReader) -> None:
        self._view = view
        self._partitions = settings.kafka.partitions
        self._lookup = lookup
        self._control = control
        self._lags = LaneLags(settings)

    async def why(self, task_id: str) -> Why:
        """Why a task is where it is, most decisive reason first.

        Raises:
            AdmissionError: there is no such task, or it cannot be known now.
        """
        status = decode(await self._lookup.find(task_id), Status)
        around: Surroundings | None = None
        if status.state is not State.RUNNING and not status.state.final:
            around = await self._surroundings(status)
        return Why(
            id=status.id,
            type=status.type,
            priority=status.priority,
            state=status.state,
            reasons=explain(status, around, datetime.now(UTC)),
        )

    async def _surroundings(self, status: Status) -> Surroundings:
        lane = Lane(status.type, status.priority)
        number = partition_of(status.ordering_key or status.id, self._partitions)
        since = status.updated_at if status.state is State.QUEUED else None
        control = await self._control.asked_of(lane)
        try:
            manned = await asyncio.to_thread(self._lags.manned, lane)
            ahead = None if since is None else await asyncio.to_thread(self._lags.ahead, lane, number, since)
        except BrokerUnavailableError as error:
            raise UnavailableError(str(error)) from error
        behind = None if since is None or status.ordering_key is None else await self._view.holder(status)
        return Surroundings(control, manned, ahead, behind)


def explain(status: Status, around: Surroundings | None, now: datetime) -> tuple[Explanation, ...]:
    """The reasons, most decisive first.

    Args:
        status: of the task.
        around: needed unless it runs or has ended.
        now: the time to count from.
    """
    if status.state.final:
        return (_ended(status),)
    if status.state is State.RUNNING:
        return (_running(status),)
    reasons: list[Explanation] = []
    if status.not_before is not None and status.not_before > now:
        reasons.append(_not_due(status, status.not_before, now))
    if around is not None:
        if around.control is not None and around.control.paused:
            reasons.append(_held(around.control))
        if not around.manned:
            text = f"no worker takes from the lane {status.type}.{status.priority}; start one for {status.type}"
            reasons.append(Explanation(reason=Reason.NO_WORKER, text=text))
        if around.behind is not None:
            reasons.append(_kept(around.behind))
    if not reasons or status.state is State.QUEUED:
        reasons.append(_waiting(status, None if around is None else around.ahead))
    return tuple(reasons)


def _ended(status: Status) -> Explanation:
    told = f": {status.error.type}: {status.error.message}" if status.error else ""
    return Explanation(
        reason=Reason.ENDED,
        text=f"it ended {status.state} after {status.attempt} of {status.max_attempts} attempts{told}",
        since=status.finished_at or status.updated_at,
        worker=status.worker,
        attempt=status.attempt,
        error=status.error,
    )


def _running(status: Status) -> Explanation:
    since = f" since {status.started_at:%Y-%m-%d %H:%M:%S %Z}" if status.started_at else ""
    return Explanation(
        reason=Reason.RUNNING,
        text=f"{status.worker or 'a worker'} runs attempt {status.attempt} of {status.max_attempts}{since}",
        since=status.started_at,
        worker=status.worker,
        attempt=status.attempt,
        error=status.error,
    )


def _not_due(status: Status, due_at: datetime, now: datetime) -> Explanation:
    due_in = (due_at - now).total_seconds()
    text = f"it is due in {due_in:.0f} s"
    retrying = status.state is State.RETRYING
    if retrying and status.error is not None:
        error = status.error
        text = f"attempt {error.attempt or status.attempt} failed ({error.type}: {error.message}); {text} again"
    return Explanation(
        reason=Reason.RETRYING if retrying else Reason.SCHEDULED,
        text=text,
        due_at=due_at,
        due_in=due_in,
        attempt=status.attempt,
        error=status.error,
    )


def _held(control: LaneControl) -> Explanation:
    said = f": {control.reason}" if control.reason else ""
    return Explanation(
        reason=Reason.LANE_PAUSED if control.by_operator else Reason.DEAD_LETTER_BUDGET,
        text=f"the lane {control.lane} is held by {control.holder}{said}",
        since=control.at,
        by=control.by,
        said=control.reason,
    )


def _kept(holder: Status) -> Explanation:
    """Told of the earlier task of the key."""
    key = holder.ordering_key
    begun = holder.state is State.RUNNING and holder.started_at is not None
    since = holder.started_at if begun else holder.updated_at
    told = {
        State.RUNNING: f"{holder.id} of its ordering key {key!r} runs",
        State.RETRYING: f"{holder.id} of its ordering key {key!r} has the turn and waits for its next attempt",
    }.get(holder.state, f"{holder.id} of its ordering key {key!r} is before it")
    return Explanation(
        reason=Reason.ORDERING_KEY,
        text=f"{told}, since {since:%Y-%m-%d %H:%M:%S %Z}",
        since=since,
        task=holder.id,
        state=holder.state,
        worker=holder.worker,
    )


def _waiting(status: Status, ahead: int | None) -> Explanation:
    text = "it is due and comes to its lane" if ahead is None else f"about {ahead} tasks of its lane are before it"
    since = status.updated_at if status.state is State.QUEUED else status.not_before
    return Explanation(reason=Reason.WAITING, text=text, since=since, ahead=ahead)
