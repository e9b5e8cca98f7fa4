"""The catalogue of metrics: a closed list, from which ``docs/metrics.md`` is generated.

Alerts (``docker/prometheus/rules``) and boards (``docker/grafana``) use nothing else, which a test holds.
"""

from dataclasses import dataclass
from typing import Final, Literal

from schemas.status import FINAL_STATES, State
from schemas.task import Priority
from schemas.topics import RUNGS


@dataclass(frozen=True)
class Metric:
    """One metric, as Prometheus reads it."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    meaning: str
    act: str
    """When somebody should act on it."""
    buckets: tuple[float, ...] = ()
    """Upper bounds of a histogram's buckets, in seconds; one for all that is longer follows."""


OUTCOMES: Final = tuple(state.value for state in State if state in FINAL_STATES)
FAILED: Final = "failed"
DEFERRED: Final = "deferred"
RETRY_REASONS: Final = (FAILED, DEFERRED)
DEAD_LETTER_REASONS: Final = (
    "rejected",
    "exhausted",
    "not_retriable",
    "poison",
    "result_too_large",
    "undecodable",
    "unknown_type",
)
RESTART_REASONS: Final = ("stalled", "frozen", "failed", "ended", "SIGKILL", "SIGABRT", "SIGSEGV", "SIGTERM")
"""Those that are told from the start, at 0; other signals appear when they strike."""
WORKER_STATES: Final = ("alive", "stuck", "silent")
CHECKS: Final = ("broker", "topics", "schedules", "replays", "view")

LABELS: Final[dict[str, str]] = {
    "type": "a registered task type, or `laneway.callback` where callbacks are on",
    "priority": ", ".join(f"`{priority}`" for priority in Priority),
    "outcome": ", ".join(f"`{outcome}`" for outcome in OUTCOMES),
    "reason": "of a retry "
    + ", ".join(f"`{reason}`" for reason in RETRY_REASONS)
    + " (the handler asked for it, or the broker was away: no attempt was spent); of a dead letter "
    + ", ".join(f"`{reason}`" for reason in DEAD_LETTER_REASONS)
    + "; of a restart `stalled` (it stood still and ended itself), `frozen` (it could not even do that), a signal such"
    " as `SIGKILL`, `failed` (any other exit code) or `ended` (0)",
    "state": "of a task one of the [states](states.md); of a worker "
    + ", ".join(f"`{state}`" for state in WORKER_STATES),
    "rung": "time that records of a waiting topic wait: " + ", ".join(f"`{rung}`" for rung in RUNGS),
    "worker": "name of one worker process; it stays the same when the process is started again",
    "check": ", ".join(f"`{check}`" for check in CHECKS),
    "method": "HTTP method, `other` for unusual ones",
    "route": "pattern of the route, `other` for what is none",
    "status": "HTTP status; 499 is a client that left",
}
"""What a label's values are: each is of a closed list, so the number of series is bounded."""

_OF_LANE: Final = ("type", "priority")
_TASK_SECONDS: Final = (
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
    300.0,
    1800.0,
    7200.0,
)
_LOOP_SECONDS: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_LATE_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 30.0, 300.0)

# What a supervisor tells of its worker processes, one by one ---------------------------------------------------------

WORKER_UP: Final = Metric(
    "laneway_worker_up",
    "gauge",
    ("worker",),
    "1 while the worker process has its lanes, else 0.",
    "it is 0 for minutes: the process does not come up, and its log says why.",
)
WORKER_RESTARTS: Final = Metric(
    "laneway_worker_restarts_total",
    "counter",
    ("worker", "reason"),
    "Deaths after which the supervisor started the process again.",
    "it grows again and again: a handler crashes it, or its memory is not enough.",
)
WORKER_STALLS: Final = Metric(
    "laneway_worker_stalls_total",
    "counter",
    ("worker",),
    "Times that the main loop stood still for 5 s or more.",
    "it grows at all.",
)
WORKER_BLOCKED: Final = Metric(
    "laneway_worker_blocked_loops_total",
    "counter",
    ("worker",),
    "Times that an `async` handler blocked the loop it runs on for 2 s or more.",
    'it grows: make that handler `def`, or `executor="process"`. The log names it and shows where it was.',
)
WORKER_DELAY: Final = Metric(
    "laneway_worker_loop_delay_seconds",
    "histogram",
    ("worker",),
    "How much later than asked the main loop woke up, four times a second.",
    "its 99th percentile stays above 0.1 s: the machine is too busy for what it runs.",
    _LOOP_SECONDS,
)
WORKER_RUNNING: Final = Metric(
    "laneway_worker_running", "gauge", ("worker",), "Tasks that run now.", "with `laneway_slots`, see there."
)
WORKER_FINISHED: Final = Metric(
    "laneway_worker_runs_total",
    "counter",
    ("worker",),
    "Runs that ended, whatever came of them.",
    "one worker's rate falls far below that of others with the same lanes.",
)
WORKER_LAG: Final = Metric(
    "laneway_worker_waiting",
    "gauge",
    ("worker",),
    "Records that could start now, as far as the process knows; the broker is asked only while nothing runs.",
    "it stays high while slots are free.",
)
WORKER_PRODUCER_ERRORS: Final = Metric(
    "laneway_worker_producer_errors_total",
    "counter",
    ("worker",),
    "Appends that the broker did not acknowledge in time, or refused. What tells of a task is appended again until it"
    " is taken, so nothing is lost.",
    "it grows: look at the brokers.",
)
TIMERS_OVERDUE: Final = Metric(
    "laneway_timers_overdue_seconds",
    "gauge",
    ("worker",),
    "How long the waiting task that is most overdue in this process should have been moved on; 0 when none is.",
    "it is above 30 s: delayed tasks and retries do not start.",
)

# What the worker processes of a supervisor have counted together -----------------------------------------------------

TASKS_ENDED: Final = Metric(
    "laneway_tasks_ended_total",
    "counter",
    (*_OF_LANE, "outcome"),
    "Tasks that ended here, counted once their end is durable.",
    "the share of `dead_lettered` or `expired` rises.",
)
TASK_WAIT: Final = Metric(
    "laneway_task_wait_seconds",
    "histogram",
    _OF_LANE,
    "Seconds from when a run could have begun (accepted, due, or replayed) until it did.",
    "it exceeds what you promised for the lane: add slots or workers.",
    _TASK_SECONDS,
)
TASK_RUN: Final = Metric(
    "laneway_task_run_seconds",
    "histogram",
    _OF_LANE,
    "Seconds that a run held its slot, whatever came of it.",
    "it grows towards the type's time-out.",
    _TASK_SECONDS,
)
TASK_TOTAL: Final = Metric(
    "laneway_task_total_seconds",
    "histogram",
    _OF_LANE,
    "Seconds from when a task was accepted or first due until its end was durable, every attempt and wait included; of"
    " a replayed one since it last came to its lane.",
    "it exceeds what you promised for the lane.",
    _TASK_SECONDS,
)
TASK_RETRIES: Final = Metric(
    "laneway_task_retries_total",
    "counter",
    (*_OF_LANE, "reason"),
    "Runs that another run of the task follows, counted once that is durable.",
    "`failed` grows faster than tasks end: what the handler depends on is in trouble.",
)
DEAD_LETTERS: Final = Metric(
    "laneway_dead_letters_total",
    "counter",
    ("type", "reason"),
    "Records that became dead letters here, tasks and what was no task.",
    "it grows: `laneway dlq list` groups them by error.",
)
SLOTS: Final = Metric(
    "laneway_slots",
    "gauge",
    ("type",),
    "Slots that these processes have for a type.",
    "it is less than you configured: processes are missing or draining.",
)
SLOTS_TAKEN: Final = Metric(
    "laneway_slots_taken",
    "gauge",
    ("type",),
    "Slots in which a task runs now.",
    "it stays at `laneway_slots` while the lanes of the type grow.",
)
TIMER_LATENESS: Final = Metric(
    "laneway_timer_lateness_seconds",
    "histogram",
    (),
    "How much later than due waiting tasks were put back into their lanes.",
    "its 99th percentile exceeds what you promised for delayed tasks.",
    _LATE_SECONDS,
)

OF_EACH_WORKER: Final = (
    WORKER_UP,
    WORKER_RESTARTS,
    WORKER_STALLS,
    WORKER_BLOCKED,
    WORKER_DELAY,
    WORKER_RUNNING,
    WORKER_FINISHED,
    WORKER_LAG,
    WORKER_PRODUCER_ERRORS,
    TIMERS_OVERDUE,
)
OF_ALL_WORKERS: Final = (
    TASKS_ENDED,
    TASK_WAIT,
    TASK_RUN,
    TASK_TOTAL,
    TASK_RETRIES,
    DEAD_LETTERS,
    SLOTS,
    SLOTS_TAKEN,
    TIMER_LATENESS,
)
WORKER_METRICS: Final = OF_EACH_WORKER + OF_ALL_WORKERS
"""What a supervisor tells."""

# What an API process tells of itself ---------------------------------------------------------------------------------

API_REQUESTS: Final = Metric(
    "laneway_api_requests_total",
    "counter",
    ("method", "route", "status"),
    "Requests answered.",
    "the share of 5xx rises.",
)
API_SECONDS: Final = Metric(
    "laneway_api_request_seconds",
    "histogram",
    ("method", "route"),
    "Seconds from a request to the end of its answer, streams and `?wait=` included.",
    "the 99th percentile of `POST /api/tasks` exceeds what you promised.",
    (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0),
)
API_ACCEPTED: Final = Metric(
    "laneway_api_tasks_accepted_total",
    "counter",
    _OF_LANE,
    "Tasks that were accepted here: on every in-sync replica.",
    "it falls to nothing when it should not, or stays above what workers end.",
)
API_READY: Final = Metric(
    "laneway_api_ready",
    "gauge",
    ("check",),
    "1 while a check of `/readyz` holds, else 0.",
    "one is 0 for minutes.",
)
API_DELAY: Final = Metric(
    "laneway_api_loop_delay_seconds",
    "histogram",
    (),
    "How much later than asked the event loop woke up, four times a second.",
    "its 99th percentile stays above 0.1 s: add API processes.",
    _LOOP_SECONDS,
)
API_PRODUCER_ERRORS: Final = Metric(
    "laneway_api_producer_errors_total",
    "counter",
    (),
    "Appends that the broker did not acknowledge in time, or refused; whoever asked got 503.",
    "it grows: look at the brokers.",
)
VIEW_LAG: Final = Metric(
    "laneway_view_lag_records",
    "gauge",
    (),
    "Records of `status` that this process's view has not applied yet.",
    "it stays in the thousands: lists and counts are late (a task that was accepted is found all the same).",
)

# What every API process tells alike, of the whole system -------------------------------------------------------------

TASKS: Final = Metric(
    "laneway_tasks",
    "gauge",
    (*_OF_LANE, "state"),
    "Tasks that the view holds, those that ended within their retention included.",
    "`dead_lettered` grows.",
)
LANE_LAG: Final = Metric(
    "laneway_lane_lag",
    "gauge",
    _OF_LANE,
    "Records of a lane that no worker has committed yet.",
    "it grows while the lane is not held.",
)
LANE_OLDEST: Final = Metric(
    "laneway_lane_oldest_seconds",
    "gauge",
    _OF_LANE,
    "Age of the oldest task that is queued; 0 when none is. A replayed task counts from when it was first accepted.",
    "it exceeds what you promised for the lane.",
)
LANE_RUNNING: Final = Metric(
    "laneway_lane_running",
    "gauge",
    _OF_LANE,
    "Tasks of a lane that are told as `running`; what is over within 50 ms never is.",
    "it is 0 while tasks are queued.",
)
LANE_WORKERS: Final = Metric(
    "laneway_lane_workers",
    "gauge",
    _OF_LANE,
    "Worker processes that are alive and have partitions of the lane.",
    "it is 0 while tasks are queued.",
)
LANE_PAUSED: Final = Metric(
    "laneway_lane_paused",
    "gauge",
    _OF_LANE,
    "1 while a lane is held, else 0.",
    "nobody knows why: `laneway lanes` tells since when and by whom.",
)
LANE_BUDGET: Final = Metric(
    "laneway_lane_stopped_by_budget",
    "gauge",
    _OF_LANE,
    "1 while a lane is held because it used up its budget of dead letters, else 0.",
    "it is 1: mend the cause, then `laneway resume`.",
)
TIMERS_WAITING: Final = Metric(
    "laneway_timers_waiting",
    "gauge",
    ("rung",),
    "Records on a waiting topic: delayed tasks and retries.",
    "it grows for ever: more is put off than comes due.",
)
WORKERS: Final = Metric(
    "laneway_workers",
    "gauge",
    ("state",),
    "Worker processes by state: `alive`, `stuck` (alive, too) or `silent`.",
    "`stuck` or `silent` is not 0 for minutes.",
)

OF_THE_API: Final = (
    API_REQUESTS,
    API_SECONDS,
    API_ACCEPTED,
    API_READY,
    API_DELAY,
    API_PRODUCER_ERRORS,
    VIEW_LAG,
)
OF_THE_SYSTEM: Final = (
    TASKS,
    LANE_LAG,
    LANE_OLDEST,
    LANE_RUNNING,
    LANE_WORKERS,
    LANE_PAUSED,
    LANE_BUDGET,
    TIMERS_WAITING,
    WORKERS,
)
API_METRICS: Final = OF_THE_API + OF_THE_SYSTEM
"""What `/metrics` of an API process tells."""

METRICS: Final = WORKER_METRICS + API_METRICS
