"""What a supervisor tells Prometheus of its worker processes."""

import contextlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from laneway.measures import family_of
from laneway.stack.ports import claim
from schemas import metrics
from schemas.metrics import Metric
from schemas.settings import WorkerSettings, variable

if TYPE_CHECKING:
    from laneway.measures import Family
    from laneway.stack.workers import SupervisedWorker

_OF_SUPERVISOR = (
    metrics.WORKER_UP,
    metrics.WORKER_RUNNING,
    metrics.WORKER_LAG,
    metrics.WORKER_STALLS,
    metrics.WORKER_BLOCKED,
    metrics.WORKER_RESTARTS,
)
"""Told from what supervisors read anyway; the others from what processes have counted."""

Series = dict[tuple[str, ...], tuple[int, ...]]


class WorkerCollector:
    """Collects from what supervisors read of their processes, at each scrape anew."""

    def __init__(self, workers: Sequence["SupervisedWorker"]) -> None:
        self._workers = workers

    def collect(self) -> "Iterator[Family]":
        """Every metric of the catalogue."""
        told: defaultdict[Metric, Series] = defaultdict(dict)
        for worker in list(self._workers):
            self._tell_vitals(worker, told)
            for (name, labels), values in worker.counted().items():
                metric = _COUNTED.get(name)
                if metric is None:  # of a process of another release
                    continue
                own = (worker.name.text, *labels) if metric in metrics.OF_EACH_WORKER else labels
                before = told[metric].get(own)
                told[metric][own] = values if before is None else added(before, values)
        for metric in metrics.WORKER_METRICS:
            yield family_of(metric, told[metric].items())

    @staticmethod
    def _tell_vitals(worker: "SupervisedWorker", told: defaultdict[Metric, Series]) -> None:
        name, record = (worker.name.text,), worker.record
        vitals = record.vitals
        for metric, value in (
            (metrics.WORKER_UP, int(worker.up)),
            (metrics.WORKER_RUNNING, record.running),
            (metrics.WORKER_LAG, vitals.lag),
            (metrics.WORKER_STALLS, record.stalls + vitals.stalls),
            (metrics.WORKER_BLOCKED, record.blocked + vitals.blocked),
        ):
            told[metric][name] = (value,)
        restarts = dict.fromkeys(metrics.RESTART_REASONS, 0) | record.restarts
        for reason, count in restarts.items():
            told[metrics.WORKER_RESTARTS][*name, reason] = (count,)


_COUNTED = {metric.name: metric for metric in metrics.WORKER_METRICS if metric not in _OF_SUPERVISOR}


def added(some: tuple[int, ...], others: tuple[int, ...]) -> tuple[int, ...]:
    """The sums of two series of one metric; of different ones, which two releases make, the second."""
    return tuple(map(sum, zip(some, others, strict=True))) if len(some) == len(others) else others


@contextlib.contextmanager
def metrics_served(workers: Sequence["SupervisedWorker"], settings: WorkerSettings) -> Iterator[str | None]:
    """During the body, Prometheus finds the metrics at the address that it gets; without a port nothing is served.

    Raises:
        ConfigurationError: the port is taken.
    """
    host, port = settings.metrics_host, settings.metrics_port
    if port is None:
        yield None
        return
    from prometheus_client import CollectorRegistry, start_http_server

    port = claim(variable("worker.metrics_port"), host, port)
    registry = CollectorRegistry()
    registry.register(WorkerCollector(workers))
    server, thread = start_http_server(port, addr=host, registry=registry)
    try:
        yield f"http://{f'[{host}]' if ':' in host else host}:{port}/metrics"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
