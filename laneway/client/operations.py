"""What a client of the API asks and how it reads the answers, without sending anything."""

import random
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple, TypedDict, TypeVar
from urllib.parse import quote

import httpx
import msgspec

from laneway.files import StoredFile
from laneway.ids import new_id
from schemas.control import Cancelled
from schemas.errors import AdmissionError, TaskFailedError, UnavailableError
from schemas.explanation import Why
from schemas.outcome import Event
from schemas.schedule import Missed, Overlap, ScheduleView
from schemas.status import State, Status
from schemas.submission import SubmitOptions, plain, said, submission_body
from schemas.task import Priority
from schemas.worker import WorkerView

_HELD: Final = timedelta(seconds=25)
"""How long one ``?wait=`` is held: below the idle time-outs of the proxies between here and there."""
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 2.0
CHUNK: Final = 256 * 1024

Answer = TypeVar("Answer")


class ScheduleOptions(TypedDict, total=False):
    """What a schedule can say beside its name, its cron expression, and type and payload of its tasks."""

    timezone: str
    """IANA name; UTC unless given."""
    missed: Missed | str
    overlap: Overlap | str
    paused: bool
    priority: Priority | str
    expires_at: datetime
    ordering_key: str
    max_attempts: int
    timeout: timedelta
    """Bound of one attempt."""
    labels: Mapping[str, str]
    callback_url: str


class ListOptions(TypedDict, total=False):
    """What a listing can be narrowed by."""

    type: str
    state: str
    priority: Priority | str
    labels: Mapping[str, str]
    since: datetime
    until: datetime
    q: str
    limit: int
    cursor: str


class TaskPage(msgspec.Struct, frozen=True):
    """A page of a listing, newest first."""

    tasks: list[Status]
    next_cursor: str | None = None
    """``cursor`` of the page that follows; ``None`` on the last one, and only there: a page of a search may end early,
    with fewer tasks than ``limit`` or none."""


class CancelAnswer(msgspec.Struct, frozen=True):
    """What became of a cancellation."""

    id: str
    cancellation: Cancelled
    """`before_start`, `while_running`, `too_late`, or `requested` when no worker has answered yet."""
    state: State
    """Of the task, at that moment."""


class TimelineAnswer(msgspec.Struct, frozen=True):
    """What happened to a task, oldest first, in all its generations."""

    id: str
    complete: bool
    """False where the task lived so long, in so busy a partition, that only the events around the times that its status
    tells were read."""
    events: list[Event]


class LaneWaits(msgspec.Struct, frozen=True):
    """Seconds from acceptance to the start of the first run; a delay that was asked for is part of that."""

    p50: float
    p99: float
    tasks: int
    """Of how many: the newest of the last hour."""


class LaneState(msgspec.Struct, frozen=True):
    """How a lane stands."""

    type: str
    priority: Priority
    paused: bool
    lag: int | None = None
    """Records that no worker has committed yet."""
    since: datetime | None = None
    """When it was held or freed last."""
    by: str | None = None
    reason: str | None = None
    oldest_seconds: float | None = None
    """Since the oldest of its queued tasks was accepted."""
    running: int | None = None
    """How many of its tasks run; ``None`` where that is not known."""
    rate: float | None = None
    """Records a second that its workers got done with in the last minute; ``None`` where nobody asked before."""
    waits: LaneWaits | None = None
    """``None`` where none was started in the last hour."""
    workers: list[str] | None = None
    """Who is alive and has partitions of it; ``None`` where that is not known."""


class Attention(msgspec.Struct, frozen=True):
    """One thing that an operator should look at."""

    grave: bool
    """Whether work stands still; else it is only worth knowing."""
    subject: str
    said: str
    link: str
    """Path of the dashboard's page where it is dealt with."""


class Hour(msgspec.Struct, frozen=True):
    """Tasks a second in each of 60 minutes, by when they were accepted and the state that they are in now."""

    first: datetime
    accepted: list[float]
    succeeded: list[float]
    retrying: list[float]
    failed: list[float]


class Overview(msgspec.Struct, frozen=True):
    """How everything stands; ``None`` stands where something is not known yet, or cannot be."""

    at: datetime
    attention: list[Attention]
    hour: Hour | None
    lanes: list[LaneState] | None
    workers: list[WorkerView] | None


class TaskCount(msgspec.Struct, frozen=True):
    """How many tasks of a type and a priority are in a state."""

    type: str
    priority: Priority
    state: State
    count: int


class Response(NamedTuple):
    """What came back."""

    status: int
    body: bytes
    headers: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Request:
    """A request to be sent, by whichever kind of client."""

    method: str
    path: str
    params: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes | Path | None = None
    held: timedelta = timedelta(0)
    """How much longer than usual the answer may take, because it is asked to wait."""
    numbered: bool = False
    """Whether each try says which it is."""
    again: Callable[[Response], bool] | None = None
    """Whether an answer other than 503 is to be asked for again, too."""


# Each operation is written once, as a generator that yields requests and is sent responses; the two clients only
# differ in how they carry them.
Operation = Generator[Request, Response, Answer]
TypeDocuments = list[dict[str, Any]]
ScheduleViews = list[ScheduleView]
_OF_A_SCHEDULE: Final = frozenset({"timezone", "missed", "overlap", "paused"})


def submit(type_name: str, payload: object, options: SubmitOptions) -> Operation[Status]:
    """Ask for a task; under a key, so that sending it twice makes one task. Unless one is given, it is made here."""
    given = options.get("idempotency_key")
    headers = {"Content-Type": "application/json", "Idempotency-Key": given or new_id()}
    content = submission_body(type_name, payload, options)
    # Nobody else can have used a key that was made here, so the API need not look for earlier uses on the first try.
    response = yield Request(method="POST", path="/api/tasks", headers=headers, content=content, numbered=given is None)
    return decoded(response, Status)


def get(task_id: str, held: timedelta = timedelta(0)) -> Operation[Status]:
    """Ask for a status, held until it is final or ``held`` is over."""
    params = {"wait": f"{held.total_seconds():g}"} if held else {}
    response = yield Request(method="GET", path=f"/api/tasks/{quote(task_id, safe='')}", params=params, held=held)
    return decoded(response, Status)


def wait(task_id: str, timeout: timedelta | None) -> Operation[Status]:
    """Ask for a status until it is final."""
    deadline = None if timeout is None else time.monotonic() + timeout.total_seconds()
    while True:
        held = _HELD if deadline is None else min(_HELD, timedelta(seconds=max(0.0, deadline - time.monotonic())))
        status = yield from get(task_id, held)
        if status.state.final:
            return status
        if deadline is not None and time.monotonic() >= deadline:
            raise TimeoutError(f"task {task_id} is still {status.state} after {timeout}; it goes on, ask again later")


def result(task_id: str, timeout: timedelta | None) -> Operation[Any]:
    """Ask for the result once there is one."""
    status = yield from wait(task_id, timeout)
    if status.state != "succeeded":
        told = f": {status.error.type}: {status.error.message}" if status.error else ""
        raise TaskFailedError(f"task {task_id} ended {status.state}{told}")
    return msgspec.json.decode(status.result)


def list_tasks(options: ListOptions) -> Operation[TaskPage]:
    """Ask for a page of the listing."""
    params: dict[str, str] = {}
    for name, value in options.items():
        if name == "labels" and isinstance(value, Mapping):
            params |= {f"label.{label}": str(wanted) for label, wanted in value.items()}
        elif value is not None:
            params[name] = value.isoformat() if isinstance(value, datetime) else str(value)
    response = yield Request(method="GET", path="/api/tasks", params=params)
    return decoded(response, TaskPage)


def cancel(task_id: str) -> Operation[CancelAnswer]:
    """Ask for a task to be called off."""
    response = yield Request(method="DELETE", path=f"/api/tasks/{quote(task_id, safe='')}")
    return decoded(response, CancelAnswer)


def reschedule(task_id: str, run_at: datetime | None, delay: timedelta | None) -> Operation[Status]:
    """Ask for a waiting task to be due at another time."""
    asked = {"run_at": run_at, "delay": None if delay is None else delay.total_seconds()}
    body = msgspec.json.encode({name: value for name, value in asked.items() if value is not None})
    headers = {"Content-Type": "application/json"}
    response = yield Request(
        method="PATCH", path=f"/api/tasks/{quote(task_id, safe='')}", headers=headers, content=body
    )
    return decoded(response, Status)


def timeline(task_id: str) -> Operation[TimelineAnswer]:
    """Ask what happened to a task."""
    response = yield Request(method="GET", path=f"/api/tasks/{quote(task_id, safe='')}/timeline")
    return decoded(response, TimelineAnswer)


def why(task_id: str) -> Operation[Why]:
    """Ask why a task is where it is."""
    response = yield Request(method="GET", path=f"/api/tasks/{quote(task_id, safe='')}/why")
    return decoded(response, Why)


def list_lanes() -> Operation[list[LaneState]]:
    """Ask for every lane."""
    response = yield Request(method="GET", path="/api/lanes")
    return decoded(response, dict[str, list[LaneState]])["lanes"]


def look_over() -> Operation[Overview]:
    """Ask how everything stands."""
    response = yield Request(method="GET", path="/api/overview")
    return decoded(response, Overview)


def count_tasks() -> Operation[list[TaskCount]]:
    """Ask how many tasks there are."""
    response = yield Request(method="GET", path="/api/tasks/counts")
    return decoded(response, dict[str, list[TaskCount]])["counts"]


def list_workers() -> Operation[list[WorkerView]]:
    """Ask for every worker process."""
    response = yield Request(method="GET", path="/api/workers")
    return decoded(response, dict[str, list[WorkerView]])["workers"]


def hold(
    type_name: str, priority: Priority | str | None, reason: str | None, *, paused: bool
) -> Operation[list[LaneState]]:
    """Ask for a lane, or all of a type, to be held or freed."""
    lanes: list[LaneState] = []
    for each in [priority] if priority is not None else list(Priority):
        path = f"/api/lanes/{quote(type_name, safe='')}/{quote(str(each), safe='')}/{'pause' if paused else 'resume'}"
        response = yield Request(method="POST", path=path, content=msgspec.json.encode({"reason": reason}))
        lanes.append(decoded(response, LaneState))
    return lanes


def list_types() -> Operation[TypeDocuments]:
    """Ask for every type."""
    response = yield Request(method="GET", path="/api/types")
    document = decoded(response, dict[str, list[dict[str, Any]]])
    return document["types"]


def put_schedule(
    name: str, cron: str, type_name: str, payload: object, options: ScheduleOptions
) -> Operation[ScheduleView]:
    """Make a schedule, or replace the one of its name."""
    own = {key: value for key, value in options.items() if key in _OF_A_SCHEDULE and value is not None}
    of_task = {key: value for key, value in options.items() if key not in own}
    task = {"type": type_name, "payload": payload, **said(of_task)}
    document = {"name": name, "cron": cron, "task": task, **own}
    content = msgspec.json.encode(document, enc_hook=plain)
    headers = {"Content-Type": "application/json"}
    response = yield Request(method="POST", path="/api/schedules", headers=headers, content=content)
    return decoded(response, ScheduleView)


def get_schedule(name: str) -> Operation[ScheduleView]:
    """Ask for a schedule."""
    response = yield Request(method="GET", path=f"/api/schedules/{quote(name, safe='')}")
    return decoded(response, ScheduleView)


def list_schedules() -> Operation[list[ScheduleView]]:
    """Ask for every schedule."""
    response = yield Request(method="GET", path="/api/schedules")
    return decoded(response, dict[str, list[ScheduleView]])["schedules"]


def delete_schedule(name: str) -> Operation[None]:
    """Have a schedule fire no more."""
    response = yield Request(method="DELETE", path=f"/api/schedules/{quote(name, safe='')}")
    raise_for_problem(response)


def upload(file: Path | bytes, name: str | None, content_type: str | None) -> Operation[StoredFile]:
    """Send a file."""
    shown = name or (file.name if isinstance(file, Path) else "upload")
    headers = {"Content-Type": content_type or "application/octet-stream"}
    response = yield Request(method="POST", path="/api/files", params={"name": shown}, headers=headers, content=file)
    return decoded(response, StoredFile)


def raise_for_problem(response: Response) -> None:
    """Raise what a problem document tells as the error that it stands for.

    Raises:
        AdmissionError: the class of the problem's kind.
    """
    if response.status < httpx.codes.BAD_REQUEST:
        return
    try:
        problem = msgspec.json.decode(response.body, type=dict[str, Any])
    except msgspec.DecodeError:
        problem = {"detail": f"the API answered {response.status} without saying why"}
    raise error_of(problem, response.status)


def error_of(problem: Mapping[str, Any], status: int) -> AdmissionError:
    """The error that a problem document tells; ``status`` is the answer's."""
    slug = str(problem.get("type", "")).rstrip("/").rpartition("/")[2].rpartition(":")[2]
    detail = str(problem.get("detail") or problem.get("title") or f"the API answered {status}")
    extensions = {k: v for k, v in problem.items() if k not in {"type", "title", "status", "detail", "instance"}}
    known = {error.slug: error for error in AdmissionError.__subclasses__()}
    by_status = {error.http_status: error for error in reversed(AdmissionError.__subclasses__())}
    return (known.get(slug) or by_status.get(status) or AdmissionError)(detail, **extensions)


def decoded(response: Response, expected: type[Answer]) -> Answer:
    """What came back, if it is no problem."""
    raise_for_problem(response)
    return msgspec.json.decode(response.body, type=expected)


class Patience:
    """Decides whether a request is sent again, and after which pause."""

    def __init__(self, retry_for: timedelta) -> None:
        self._deadline = time.monotonic() + retry_for.total_seconds()
        self._pause = _FIRST_PAUSE

    def pause_after(self, response: Response | None, again: Callable[[Response], bool] | None = None) -> float | None:
        """Seconds to wait before the next try; ``None`` when the answer stands or the time is up.

        Args:
            response: what came back; ``None`` when nothing did.
            again: whether an answer other than 503 is to be asked for again.
        """
        stands = response is not None and response.status != httpx.codes.SERVICE_UNAVAILABLE
        if response is not None and stands and not (again is not None and again(response)):
            return None
        pause = self._pause * random.uniform(0.5, 1.0)  # noqa: S311  (jitter, not a secret)
        if response is not None:
            asked = response.headers.get("retry-after", "")
            pause = max(pause, min(float(asked), _LONGEST_PAUSE)) if asked.isdigit() else pause
        if time.monotonic() + pause >= self._deadline:
            return None
        self._pause = min(self._pause * 2, _LONGEST_PAUSE)
        return pause


def unreachable(url: httpx.URL, error: httpx.TransportError) -> UnavailableError:
    """What a caller is told when no answer came."""
    return UnavailableError(f"no API answers at {url} ({str(error) or type(error).__name__}); is it running there?")


def timeout_for(held: timedelta) -> httpx.Timeout:
    """Bounds of one exchange whose answer is asked to wait for ``held``."""
    return httpx.Timeout(30.0, connect=5.0, read=30.0 + held.total_seconds())
