"""What Prometheus is told."""

import asyncio
from collections.abc import Awaitable, Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import structlog
from fastapi import APIRouter, Request, Response
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from ingest.openapi.parts import route
from ingest.requests_log import RequestCounts
from ingest.runtime import Runtime
from ingest.workers import lanes_of
from laneway.kafka.lags import LaneLags
from laneway.measures import MICROSECONDS, family_of
from schemas import metrics
from schemas.errors import LanewayError

if TYPE_CHECKING:
    from laneway.measures import Family

log = structlog.get_logger(__name__)

_KNOWN_WITHIN: Final = 8.0
"""Seconds for each part of what the system is asked: Prometheus waits for ten, unless it says otherwise."""
_PATIENCE: Final = "x-prometheus-scrape-timeout-seconds"
_OF_PATIENCE: Final = 0.7
_TEXT: Final[dict[int | str, Any]] = {
    200: {"description": "In Prometheus' text format.", "content": {"text/plain": {"schema": {"type": "string"}}}}
}


def router(runtime: Runtime, counts: RequestCounts) -> APIRouter:
    """``/metrics``."""
    routes = APIRouter(tags=["health"], default_response_class=Response)
    system = _System(runtime)

    @routes.get("/metrics", **route(200, _TEXT))
    async def get_metrics(request: Request) -> Response:
        """What this process and the system do, for Prometheus. What cannot be known now is left out."""
        registry = CollectorRegistry()
        known = await system.ask(_patience_of(request))
        families = [*_of_requests(counts), *_of_process(runtime), *known]
        registry.register(_Collected(families))
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return routes


class _Collected(Collector):
    def __init__(self, families: "list[Family]") -> None:
        self._families = families

    def collect(self) -> "Iterator[Family]":
        yield from self._families


def _of_requests(counts: RequestCounts) -> "list[Family]":
    return [
        family_of(
            metrics.API_REQUESTS,
            (((method, path, str(status)), (count,)) for (method, path, status), count in counts.answered.items()),
        ),
        family_of(metrics.API_SECONDS, ((labels, seconds.values) for labels, seconds in counts.seconds.items())),
    ]


def _of_process(runtime: Runtime) -> "list[Family]":
    accepted = runtime.intake.accepted
    lanes = [lane for lane in runtime.lanes if lane.type in runtime.registry.names]  # nobody submits the others
    return [
        family_of(metrics.API_ACCEPTED, ((lane, (accepted[lane],)) for lane in lanes)),
        family_of(metrics.API_DELAY, [((), runtime.delay.values)]),
        family_of(metrics.API_PRODUCER_ERRORS, [((), (runtime.producer_errors,))]),
    ]


class _System:
    """Asks the broker, the view and the workers' reports, side by side; what one of them cannot tell is left out."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._lags = LaneLags(runtime.settings)

    async def ask(self, within: float) -> "list[Family]":
        """What is known within so many seconds."""
        parts = (self._view_lag(), self._lanes(), self._tasks(), self._timers(), self._workers())
        readiness, *others = await asyncio.gather(
            self._readiness(within), *(self._known(part, within) for part in parts)
        )
        return [*readiness, *(family for found in others for family in found)]

    async def _known(self, part: "Awaitable[Sequence[Family]]", within: float) -> "Sequence[Family]":
        try:
            return await asyncio.wait_for(part, within)
        except (LanewayError, TimeoutError) as error:
            log.info("some metrics are left out", said=str(error) or "no answer in time")
            return ()

    async def _readiness(self, within: float) -> "Sequence[Family]":
        checks = await self._runtime.checks(within)
        return [family_of(metrics.API_READY, (((name,), (int(why is None),)) for name, why in checks.items()))]

    async def _view_lag(self) -> "Sequence[Family]":
        return [family_of(metrics.VIEW_LAG, [((), (await self._runtime.view.lag(),))])]

    async def _lanes(self) -> "Sequence[Family]":
        states = await self._runtime.control.lanes(self._runtime.lanes)
        held = [(each.lane, each.control) for each in states if each.control is not None and each.control.paused]
        paused = {lane for lane, _ in held}
        by_budget = {lane for lane, control in held if not control.by_operator}
        return [
            family_of(metrics.LANE_LAG, ((each.lane, (each.lag,)) for each in states if each.lag is not None)),
            family_of(metrics.LANE_PAUSED, ((each.lane, (int(each.lane in paused),)) for each in states)),
            family_of(metrics.LANE_BUDGET, ((each.lane, (int(each.lane in by_budget),)) for each in states)),
        ]

    async def _tasks(self) -> "Sequence[Family]":
        runtime = self._runtime
        lanes, counts = await asyncio.gather(runtime.view.lanes(runtime.lanes), runtime.view.counts())
        return [
            family_of(
                metrics.TASKS,
                # The view may still hold tasks of types that are not registered any more.
                (((*lane, state), (number,)) for (lane, state), number in counts.items() if lane in lanes),
            ),
            family_of(metrics.LANE_RUNNING, ((lane, (told.running,)) for lane, told in lanes.items())),
            family_of(metrics.LANE_OLDEST, ((lane, (_age(told.oldest),)) for lane, told in lanes.items())),
        ]

    async def _timers(self) -> "Sequence[Family]":
        waiting = await asyncio.to_thread(self._lags.waiting)
        return [family_of(metrics.TIMERS_WAITING, (((rung,), (number,)) for rung, number in waiting.items()))]

    async def _workers(self) -> "Sequence[Family]":
        found = self._runtime.workers.every()
        of_lane = lanes_of(found)
        numbers = {
            "alive": sum(each.alive for each in found),
            "stuck": sum(each.stuck for each in found),
            "silent": sum(not each.alive for each in found),
        }
        return [
            family_of(metrics.WORKERS, (((state,), (number,)) for state, number in numbers.items())),
            family_of(metrics.LANE_WORKERS, ((lane, (len(of_lane.get(lane, ())),)) for lane in self._runtime.lanes)),
        ]


def _patience_of(request: Request) -> float:
    """Seconds that may be spent: less than Prometheus waits, which it says."""
    try:
        said = float(request.headers.get(_PATIENCE, "inf"))
    except ValueError:
        return _KNOWN_WITHIN
    return min(_KNOWN_WITHIN, said * _OF_PATIENCE) if said > 0 else _KNOWN_WITHIN


def _age(since: datetime | None) -> int:
    """Microseconds; another machine's clock may be ahead of ours."""
    return 0 if since is None else max(0, int((datetime.now(UTC) - since).total_seconds() * MICROSECONDS))
