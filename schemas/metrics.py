"""The catalogue of metrics; ``docs/metrics.md`` is generated from it."""

from dataclasses import dataclass
from typing import Final, Literal


@dataclass(frozen=True)
class Metric:
    """One metric, as Prometheus reads it."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    meaning: str


WORKER_UP: Final = Metric(
    "laneway_worker_up", "gauge", ("worker",), "1 while the worker process has its lanes, else 0."
)
WORKER_RESTARTS: Final = Metric(
    "laneway_worker_restarts_total",
    "counter",
    ("worker", "reason"),
    "Deaths after which the process was started again. `reason` is `stalled` (it stood still and ended itself),"
    " `frozen` (it could not even do that), a signal such as `SIGKILL`, `failed` (any other exit code) or `ended` (0).",
)
WORKER_STALLS: Final = Metric(
    "laneway_worker_stalls_total", "counter", ("worker",), "Times that the main loop stood still for 5 s or more."
)
WORKER_BLOCKED: Final = Metric(
    "laneway_worker_blocked_loops_total",
    "counter",
    ("worker",),
    "Times that an `async` handler blocked the loop it runs on for 2 s or more.",
)
WORKER_RUNNING: Final = Metric("laneway_worker_running", "gauge", ("worker",), "Tasks that run now.")
WORKER_FINISHED: Final = Metric(
    "laneway_worker_runs_total", "counter", ("worker",), "Runs that ended, whatever came of them."
)
WORKER_LAG: Final = Metric(
    "laneway_worker_waiting",
    "gauge",
    ("worker",),
    "Records that could start now, as far as the process knows; the broker is asked only while nothing runs.",
)

WORKER_METRICS: Final = (
    WORKER_UP,
    WORKER_RESTARTS,
    WORKER_STALLS,
    WORKER_BLOCKED,
    WORKER_RUNNING,
    WORKER_FINISHED,
    WORKER_LAG,
)
"""What a supervisor tells."""

API_REQUESTS: Final = Metric(
    "laneway_api_requests_total",
    "counter",
    ("method", "route", "status"),
    "Requests answered. `route` is the route's pattern, `other` for what is none; status 499 is a client that left.",
)
API_SECONDS: Final = Metric(
    "laneway_api_request_seconds",
    "histogram",
    ("method", "route"),
    "Seconds from a request to the end of its answer, streams and `?wait=` included.",
)
API_READY: Final = Metric("laneway_api_ready", "gauge", ("check",), "1 while a check of `/readyz` holds, else 0.")
LANE_LAG: Final = Metric(
    "laneway_lane_lag",
    "gauge",
    ("type", "priority"),
    "Records of a lane that no worker has committed yet. Act on it when it grows while the lane is not paused.",
)
LANE_PAUSED: Final = Metric("laneway_lane_paused", "gauge", ("type", "priority"), "1 while a lane is held, else 0.")
WORKERS: Final = Metric(
    "laneway_workers", "gauge", ("state",), "Worker processes by state: `alive`, `stuck` (alive, too) or `silent`."
)
API_METRICS: Final = (API_REQUESTS, API_SECONDS, API_READY, LANE_LAG, LANE_PAUSED, WORKERS)
"""What `/metrics` of an API process tells."""

METRICS: Final = (*WORKER_METRICS, *API_METRICS)
