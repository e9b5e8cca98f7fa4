"""What a supervisor tells Prometheus of its worker processes."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from laneway.stack.ports import claim
from schemas import metrics
from schemas.metrics import Metric

if TYPE_CHECKING:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    from laneway.stack.workers import SupervisedWorker

    Family = CounterMetricFamily | GaugeMetricFamily

HOST = "127.0.0.1"


class WorkerCollector:
    """Collects from what supervisors read of their processes, at each scrape anew."""

    def __init__(self, workers: Sequence["SupervisedWorker"]) -> None:
        self._workers = workers

    def collect(self) -> Iterator["Family"]:
        """Every metric of the catalogue."""
        up, running, waiting = (
            _family(metric) for metric in (metrics.WORKER_UP, metrics.WORKER_RUNNING, metrics.WORKER_LAG)
        )
        restarts, stalls, blocked, finished = (
            _family(metric)
            for metric in (
                metrics.WORKER_RESTARTS,
                metrics.WORKER_STALLS,
                metrics.WORKER_BLOCKED,
                metrics.WORKER_FINISHED,
            )
        )
        for worker in list(self._workers):
            name, record = [worker.name.text], worker.record
            vitals = record.vitals
            up.add_metric(name, float(worker.up))
            running.add_metric(name, record.running)
            waiting.add_metric(name, vitals.lag)
            stalls.add_metric(name, record.stalls + vitals.stalls)
            blocked.add_metric(name, record.blocked + vitals.blocked)
            finished.add_metric(name, record.finished + vitals.finished)
            for reason, count in list(record.restarts.items()):
                restarts.add_metric([*name, reason], count)
        yield from (up, restarts, stalls, blocked, running, finished, waiting)


@contextlib.contextmanager
def metrics_served(workers: Sequence["SupervisedWorker"], port: int | None) -> Iterator[None]:
    """During the body, Prometheus finds the metrics at ``http://127.0.0.1:PORT/metrics``; ``None`` serves none.

    Raises:
        ConfigurationError: the port is taken.
    """
    if port is None:
        yield
        return
    import structlog
    from prometheus_client import CollectorRegistry, start_http_server

    port = claim("LANEWAY_WORKER__METRICS_PORT", HOST, port)
    registry = CollectorRegistry()
    registry.register(WorkerCollector(workers))
    server, thread = start_http_server(port, addr=HOST, registry=registry)
    structlog.get_logger(__name__).info("metrics served", address=f"http://{HOST}:{port}/metrics")
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _family(metric: Metric) -> "Family":
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    return kind(metric.name, metric.meaning, labels=metric.labels)
