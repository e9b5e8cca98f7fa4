"""What Prometheus is told."""

from collections.abc import Iterator
from itertools import accumulate
from math import isinf
from typing import Any, Final

import structlog
from fastapi import APIRouter, Request, Response
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from ingest.openapi.parts import route
from ingest.requests_log import RequestCounts
from ingest.runtime import Runtime
from schemas import metrics
from schemas.errors import LanewayError
from schemas.metrics import Metric
from schemas.task import Lane, Priority

log = structlog.get_logger(__name__)

Family = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily
_TEXT: Final[dict[int | str, Any]] = {
    200: {"description": "In Prometheus' text format.", "content": {"text/plain": {"schema": {"type": "string"}}}}
}


def router(runtime: Runtime, counts: RequestCounts) -> APIRouter:
    """``/metrics``."""
    routes = APIRouter(tags=["health"], default_response_class=Response)

    @routes.get("/metrics", **route(200, _TEXT))
    async def get_metrics(_request: Request) -> Response:
        """What this process and the system do, for Prometheus. What cannot be known now is left out."""
        registry = CollectorRegistry()
        registry.register(_Collected([*_of_requests(counts), *await _of_system(runtime)]))
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return routes


class _Collected(Collector):
    def __init__(self, families: list[Family]) -> None:
        self._families = families

    def collect(self) -> Iterator[Family]:
        yield from self._families


def _of_requests(counts: RequestCounts) -> list[Family]:
    answered = CounterMetricFamily(*_described(metrics.API_REQUESTS), labels=metrics.API_REQUESTS.labels)
    for (method, path, status), count in counts.answered.items():
        answered.add_metric([method, path, str(status)], count)
    seconds = HistogramMetricFamily(*_described(metrics.API_SECONDS), labels=metrics.API_SECONDS.labels)
    bounds = ["+Inf" if isinf(bound) else str(bound) for bound in counts.BUCKETS]
    for labels, buckets in counts.seconds.items():
        reached = list(zip(bounds, map(float, accumulate(buckets)), strict=True))
        seconds.add_metric([*labels], reached, counts.total[labels] / 1_000_000)
    return [answered, seconds]


async def _of_system(runtime: Runtime) -> list[Family]:
    ready, lag, paused, workers = (
        GaugeMetricFamily(*_described(metric), labels=metric.labels)
        for metric in (metrics.API_READY, metrics.LANE_LAG, metrics.LANE_PAUSED, metrics.WORKERS)
    )
    for name, why in (await runtime.checks()).items():
        ready.add_metric([name], float(why is None))
    try:
        every = [Lane(name, priority) for name in runtime.registry.names for priority in Priority]
        for state in await runtime.control.lanes(every):
            labels = [state.lane.type, state.lane.priority.value]
            if state.lag is not None:
                lag.add_metric(labels, state.lag)
            paused.add_metric(labels, float(state.control is not None and state.control.paused))
    except LanewayError as error:
        log.info("metrics of lanes are left out", said=str(error))
    try:
        found = runtime.workers.every()
    except LanewayError as error:
        log.info("metrics of workers are left out", said=str(error))
    else:
        workers.add_metric(["alive"], sum(each.alive for each in found))
        workers.add_metric(["stuck"], sum(each.stuck for each in found))
        workers.add_metric(["silent"], sum(not each.alive for each in found))
    return [ready, lag, paused, workers]


def _described(metric: Metric) -> tuple[str, str]:
    return metric.name, metric.meaning
