"""How the lanes stand, for pages that should not wait for Kafka's answer."""

from typing import Final

from ingest.control import LaneState
from ingest.dashboard.watch import Watch
from ingest.runtime import Runtime
from schemas.task import Lane, Priority

_ASKED_AGAIN_AFTER: Final = 2.0


class LaneWatch:
    """Keeps the latest answer about every lane while anybody looks."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._watch = Watch(self._ask, _ASKED_AGAIN_AFTER)

    async def states(self) -> list[LaneState] | None:
        """Every lane, with what waits in it as far as it is known; ``None`` while that is being asked for first.

        Whether a lane is held is what this API knows now. Empty where Kafka does not answer, which the checks of
        readiness tell.
        """
        lags = await self._watch.latest()
        if lags is None:
            return None if self._watch.trouble is None else []
        return [LaneState(lane, lags.get(lane), self._runtime.control.asked(lane)) for lane in self._lanes()]

    async def _ask(self) -> dict[Lane, int | None]:
        return {state.lane: state.lag for state in await self._runtime.control.lanes(self._lanes())}

    def _lanes(self) -> list[Lane]:
        return [Lane(name, priority) for name in self._runtime.registry.names for priority in Priority]
