"""What needs somebody's attention, in words. No I/O."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ingest.control import LaneState
from ingest.dashboard.words import plural
from schemas.task import Lane


class Concern(NamedTuple):
    """One thing that an operator should look at."""

    grave: bool
    """Whether work stands still; else it is only worth knowing."""
    subject: str
    said: str
    link: str
    """Where it is dealt with."""


def concerns(checks: Mapping[str, str | None], lanes: Sequence[LaneState]) -> list[Concern]:
    """Everything worth a look, the grave first.

    Args:
        checks: what readiness consists of, each with what fails.
        lanes: how they stand.
    """
    found = [Concern(True, _CHECKS.get(name, name), why, "/readyz") for name, why in checks.items() if why is not None]
    for state in lanes:
        if state.control is not None and state.control.paused:
            waits = f"; {plural(state.lag, 'task waits', 'tasks wait')}" if state.lag else ""
            reason = f": {state.control.reason}" if state.control.reason else ""
            said = f"held since {state.control.at:%H:%M} UTC by {state.control.holder}{reason}{waits}"
            found.append(Concern(bool(state.lag), str(state.lane), said, _lane_link(state.lane)))
    return sorted(found, key=lambda concern: not concern.grave)


_CHECKS = {
    "broker": "Kafka",
    "topics": "Topics",
    "schedules": "Schedules",
    "view": "Status view",
}


def _lane_link(lane: Lane) -> str:
    return f"/lanes#{lane}"
