"""The last hour as a chart: what came in, and what became of it."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from ingest.dashboard.charts import Chart, Series, chart
from ingest.dashboard.watch import Watch
from ingest.runtime import Runtime
from ingest.view.minutes import Minutes
from schemas.status import State

_MINUTES: Final = 60
_READ_AGAIN_AFTER: Final = 5.0
_MINUTE: Final = timedelta(minutes=1)
_FAILED: Final = frozenset({State.DEAD_LETTERED, State.EXPIRED})


class Past(NamedTuple):
    """The last hour."""

    chart: Chart
    states: dict[State, int]
    """Tasks accepted in it, by the state that they are in now."""

    def rates(self) -> dict[str, Any]:
        """What the chart shows, for programs."""
        slots = self.chart.slots
        lines = {line.name: [slot.values[place][2] for slot in slots] for place, line in enumerate(self.chart.lines)}
        return {"first": slots[0].at, **lines}


class HistoryWatch:
    """Keeps the latest look at the last hour while anybody looks."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._watch = Watch(self._ask, _READ_AGAIN_AFTER)

    async def latest(self) -> Past | None:
        """The last hour; ``None`` while it is being read for the first time, or cannot be."""
        return await self._watch.latest()

    async def _ask(self) -> Past:
        now = datetime.now(UTC)
        first = now.replace(second=0, microsecond=0) - (_MINUTES - 1) * _MINUTE
        return past_of(await self._runtime.view.minutes(first, self._runtime.registry.names), first, now)


def past_of(minutes: Minutes, first: datetime, now: datetime) -> Past:
    """What the hour from ``first`` on looks like; its last minute is ``now``'s, which is not over."""
    numbers = [int(first.timestamp()) // 60 + place for place in range(_MINUTES)]
    seconds = [60.0] * (_MINUTES - 1) + [max(1.0, (now - first).total_seconds() - 60 * (_MINUTES - 1))]

    def rates(wanted: frozenset[State]) -> list[float]:
        return [
            sum(count for state, count in _of(minutes, number).items() if state in wanted) / length
            for number, length in zip(numbers, seconds, strict=True)
        ]

    drawn = chart(
        [
            Series("accepted", "accepted", rates(frozenset(State))),
            Series("succeeded", "succeeded", rates(frozenset({State.SUCCEEDED}))),
            Series("retrying", "retried", rates(frozenset({State.RETRYING}))),
            Series("failed", "failed", rates(_FAILED)),
        ],
        first,
        _MINUTE,
    )
    states = {state: sum(_of(minutes, number).get(state, 0) for number in numbers) for state in State}
    return Past(drawn, states)


def _of(minutes: Minutes, number: int) -> Mapping[State, int]:
    return minutes.get(number, {})
