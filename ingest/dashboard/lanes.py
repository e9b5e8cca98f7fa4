"""How the lanes stand, for pages that should not wait for Kafka's answer."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from ingest.dashboard.watch import Watch
from ingest.runtime import Runtime
from ingest.view.lanes import LaneTasks, LaneWaits
from schemas.control import LaneControl
from schemas.errors import UnavailableError
from schemas.task import Lane, Priority

_ASKED_AGAIN_AFTER: Final = 2.0


@dataclass(frozen=True)
class LaneLook:
    """A lane as the pages show it."""

    lane: Lane
    lag: int | None
    """Records that are not committed yet, as far as that is known."""
    control: LaneControl | None
    """What was asked of it last."""
    oldest: datetime | None = None
    """When the oldest of its tasks that are queued was accepted."""
    running: int = 0
    waits: LaneWaits | None = None
    rate: float | None = None
    """Tasks a second that its workers get done with."""

    @property
    def held(self) -> bool:
        """Whether nothing of it is started."""
        return self.control is not None and self.control.paused

    @property
    def idle(self) -> bool:
        """Whether there is nothing to tell of it."""
        return not (self.held or self.lag or self.running or self.rate or self.waits)


class LaneWatch:
    """Keeps the latest answer about every lane while anybody looks."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._watch = Watch(self._ask, _ASKED_AGAIN_AFTER)

    async def states(self) -> list[LaneLook] | None:
        """Every lane, with what waits in it as far as it is known; ``None`` while that is being asked for first.

        Whether a lane is held is what this API knows now. Empty where Kafka does not answer, which the checks of
        readiness tell.
        """
        known = await self._watch.latest()
        if known is None:
            return None if self._watch.trouble is None else []
        return [replace(look, control=self._runtime.control.asked(look.lane)) for look in known]

    async def _ask(self) -> list[LaneLook]:
        lanes = [Lane(name, priority) for name in self._runtime.registry.names for priority in Priority]
        states = await self._runtime.control.lanes(lanes)
        try:
            tasks = await self._runtime.view.lanes(lanes)
        except UnavailableError:
            tasks = {}  # the view is being built anew, which the checks of readiness tell
        return [
            LaneLook(state.lane, state.lag, state.control, *tasks.get(state.lane, LaneTasks(None, 0)), rate=state.rate)
            for state in states
        ]
