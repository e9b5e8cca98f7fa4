"""The dashboard's pages on a real view and registry, without a broker: what needs Kafka is answered from memory."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx
import msgspec
from fastapi import FastAPI

from ingest import problems
from ingest.admission import Admission, Moment
from ingest.audit import Outcome
from ingest.control import Answer, LaneState
from ingest.dashboard import router as dashboard
from ingest.lookup import Lookup
from ingest.recent import RecentTasks
from ingest.runtime import Runtime
from ingest.view import schema
from ingest.view.reader import ViewReader
from ingest.view.store import StatusRecord, ViewStore
from laneway.registry import Registry
from schemas.audit import AuditRecord
from schemas.codec import encode
from schemas.control import Cancelled, LaneControl
from schemas.dead_letters import DeadLetterPage
from schemas.errors import UnavailableError
from schemas.replay import ReplaySubmission, ReplayView, Selection
from schemas.schedule import ScheduleView
from schemas.settings import KafkaSettings, Settings
from schemas.status import State, Status
from schemas.task import Lane, Priority
from schemas.worker import LaneShare, RunningTask, TypeSlots, WorkerView


def status_of(task_id: str, **said: Any) -> Status:
    """A status with what a test does not say."""
    now = datetime.now(UTC)
    fields: dict[str, Any] = {
        "id": task_id,
        "type": "email",
        "priority": Priority.NORMAL,
        "state": State.QUEUED,
        "max_attempts": 3,
        "created_at": now,
        "updated_at": now,
    }
    return Status(**(fields | said))


def worker_of(name: str, **said: Any) -> WorkerView:
    """A worker with what a test does not say."""
    now = datetime.now(UTC)
    fields: dict[str, Any] = {
        "worker": name,
        "host": "here",
        "pid": 1,
        "version": "1.0",
        "started_at": now,
        "at": now,
        "lanes": [LaneShare(type="email", priority=Priority.HIGH, partitions=[0, 1])],
        "slots": [TypeSlots(type="email", total=2, busy=1)],
        "running": [RunningTask(id="a", type="email", priority=Priority.HIGH, attempt=1, since=now)],
        "running_total": 1,
        "waiting": 0,
        "ended": 3,
        "alive": True,
        "stuck": False,
    }
    return WorkerView(**(fields | said))


@dataclass
class Window:
    """The dashboard, what it stands on, and what it did."""

    app: FastAPI
    store: ViewStore
    view: ViewReader
    lanes: dict[Lane, LaneState] = field(default_factory=dict)
    schedules: list[ScheduleView] = field(default_factory=list)
    workers: list[WorkerView] | None = field(default_factory=list)
    """``None``: their reports are not read yet."""
    actions: list[tuple[str, str, str]] = field(default_factory=list)
    """Who, action, target."""
    cancelled: list[str] = field(default_factory=list)
    checks: dict[str, str | None] = field(default_factory=dict)
    dead: DeadLetterPage = field(default_factory=lambda: DeadLetterPage(groups=[], letters=[], complete=True))
    replays: list[ReplayView] = field(default_factory=list)
    made: list[tuple[ReplaySubmission, bool]] = field(default_factory=list)
    """Replays that were asked for, and whether of dead letters."""
    offset: int = 0

    def put(self, *statuses: Status) -> None:
        """Have the view know them."""
        records = [
            StatusRecord(0, self.offset + place, each.id.encode(), encode(each)) for place, each in enumerate(statuses)
        ]
        self.offset += len(records)
        self.store.apply("status", records, {0: self.offset})

    def client(self) -> httpx.AsyncClient:
        """A browser of ours, so to speak."""
        return httpx.AsyncClient(
            transport=httpx.ASGITransport(self.app),
            base_url="http://laneway.test",
            headers={"sec-fetch-site": "same-origin"},
        )


class _Control:
    def __init__(self, window: Window) -> None:
        self._window = window

    async def lanes(self, lanes: list[Lane]) -> list[LaneState]:
        return [self._window.lanes.get(lane, LaneState(lane, 0, None)) for lane in lanes]

    def asked(self, lane: Lane) -> LaneControl | None:
        return self._window.lanes.get(lane, LaneState(lane, 0, None)).control

    async def hold(self, lane: Lane, *, paused: bool, reason: str | None, by: str = "api") -> LaneControl:
        control = LaneControl(
            type=lane.type, priority=lane.priority, paused=paused, at=datetime.now(UTC), by=by, reason=reason
        )
        self._window.lanes[lane] = LaneState(lane, 0, control)
        return control

    async def cancel(self, task_id: str) -> Answer:
        self._window.cancelled.append(task_id)
        return Answer(Cancelled.BEFORE_START, State.CANCELLED)


class _Audit:
    def __init__(self, window: Window) -> None:
        self._window = window

    @asynccontextmanager
    async def recorded(self, by: str, action: str, target: str, **details: str) -> AsyncIterator[Outcome]:
        self._window.actions.append((by, action, target))
        yield Outcome()

    async def latest(self, most: int) -> list[AuditRecord]:
        now = datetime.now(UTC)
        return [
            AuditRecord(id=str(number), at=now, by=by, action=action, target=target, details={target[:40]: target})
            for number, (by, action, target) in enumerate(self._window.actions)
        ]


class _DeadLetters:
    def __init__(self, window: Window) -> None:
        self._window = window

    async def page(self, select: Selection, limit: int) -> DeadLetterPage:
        return self._window.dead


class _Replays:
    def __init__(self, window: Window) -> None:
        self._window = window

    async def every(self) -> list[ReplayView]:
        return self._window.replays

    async def find(self, replay_id: str) -> ReplayView:
        return self._window.replays[0]

    async def make(self, body: bytes, moment: Moment, wait: float, *, dead: bool = False) -> ReplayView:
        submission = msgspec.json.decode(body, type=ReplaySubmission)
        submission.select.check()
        self._window.made.append((submission, dead))
        return self._window.replays[0]


class _Workers:
    def __init__(self, window: Window) -> None:
        self._window = window

    def every(self) -> list[WorkerView]:
        if self._window.workers is None:
            raise UnavailableError("the workers' reports are not read yet")
        return self._window.workers


class _Schedules:
    def __init__(self, window: Window) -> None:
        self._window = window

    async def every(self, now: datetime) -> list[ScheduleView]:
        return self._window.schedules


def window_on(folder: Path, registry: Registry) -> Window:
    """A dashboard whose view lies in ``folder``; a loop must run."""
    settings = Settings(data_dir=folder, kafka=KafkaSettings(bootstrap_servers="127.0.0.1:9", partitions=1))
    app = FastAPI()
    problems.install(app)
    view = ViewReader(settings)
    window = Window(app, ViewStore(schema.database(folder), "cluster/topic", 1), view)

    async def checks() -> dict[str, str | None]:
        return window.checks

    runtime = SimpleNamespace(
        settings=settings,
        registry=registry,
        admission=Admission(settings, registry),
        view=view,
        lookup=Lookup(view, RecentTasks()),
        control=_Control(window),
        audit=_Audit(window),
        schedules=_Schedules(window),
        workers=_Workers(window),
        dead_letters=_DeadLetters(window),
        replays=_Replays(window),
        checks=checks,
    )
    app.include_router(dashboard.router(cast(Runtime, runtime)))
    return window
