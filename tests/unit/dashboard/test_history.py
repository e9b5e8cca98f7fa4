"""The chart of the last hour says what came in each minute, and what became of it."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import BaseModel

from ingest.dashboard.history import past_of
from laneway.registry import Registry
from schemas.status import State
from tests.support.dashboard import status_of, window_on

NOW = datetime.now(UTC)


class Letter(BaseModel):
    to: str


def send(payload: Letter) -> None:
    """Send a letter."""


async def test_a_minute_has_the_rates_of_its_tasks(tmp_path: Path) -> None:
    registry = Registry()
    registry.task("email")(send)
    window = window_on(tmp_path, registry)
    first = NOW.replace(second=0, microsecond=0) - timedelta(minutes=59)
    third = first + timedelta(minutes=2, seconds=30)
    window.put(
        *(status_of(f"s{number}", state=State.SUCCEEDED, created_at=third) for number in range(120)),
        *(status_of(f"d{number}", state=State.DEAD_LETTERED, created_at=third) for number in range(60)),
        status_of("old", state=State.SUCCEEDED, created_at=first - timedelta(seconds=1)),
    )
    minutes = await window.view.minutes(first, ["email"])
    past = past_of(minutes, first, NOW)
    window.store.close()
    assert past.states[State.SUCCEEDED] == 120
    assert past.states[State.DEAD_LETTERED] == 60
    values = {name: value for name, _, value in past.chart.slots[2].values}
    assert values == {"accepted": 3.0, "succeeded": 2.0, "retrying": 0.0, "failed": 1.0}
    assert past.chart.slots[2].at == first + timedelta(minutes=2)
    assert past.chart.lines[0].latest == pytest.approx(0)
    assert len(past.chart.slots) == 60
