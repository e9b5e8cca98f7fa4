"""The process that plans and runs replays, as long as there is one to plan or run."""

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Awaitable
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog

from ingest.replay.book import Job, ReplayBook
from ingest.replay.leading import Leadership
from ingest.replay.planner import Planner
from ingest.replay.records import part_record, run_record
from ingest.replay.session import LeadLostError, Session
from ingest.view.reader import ViewReader
from laneway.kafka.log import open_log
from laneway.kafka.records import TableRecord
from laneway.kafka.table import TableFollower
from laneway.registry import Registry
from schemas.errors import (
    BrokerUnavailableError,
    InvalidReplayError,
    LanewayError,
    UnavailableError,
    UndecodableRecordError,
)
from schemas.replay import PLAN, ReplayRun, ReplayState
from schemas.settings import Settings
from schemas.topics import Topics, position

log = structlog.get_logger(__name__)

_CATCH_UP: Final = timedelta(seconds=10)
_IDLE: Final = 15.0
"""Seconds without anything to do after which the process ends; the API starts another when it is needed."""
_LOOK: Final = 0.25
_BACKOFF: Final = 1.0


class Runner:
    """Plans and runs jobs, one plan and one run at a time, while this process leads."""

    def __init__(self, settings: Settings, registry: Registry) -> None:
        self._settings = settings
        self._registry = registry
        self._topics = Topics(settings.kafka.topic_prefix)
        self._name = f"{socket.gethostname()}-{os.getpid()}"
        self._loop = asyncio.get_running_loop()
        self._book = ReplayBook()
        self._changed = asyncio.Event()
        self._stopping = False
        self._planner = Planner(settings, registry)
        self._view = ViewReader(settings)
        self._log = open_log(settings, "laneway-replay", delivery_timeout=settings.kafka.delivery_timeout)
        self._follower = TableFollower(settings, [self._topics.replays], self._take, "laneway-replay-table")
        self._leadership = Leadership(settings, self._leads_or_not)

    def stop(self) -> None:
        """Have ``run`` end soon."""
        self._stopping = True
        self._planner.stop()
        self._changed.set()

    async def run(self) -> None:
        """Do what there is to do; returns when nothing has been for a while, or after ``stop``."""
        self._follower.start()
        await self._view.start()
        self._leadership.start()
        planning: asyncio.Task[None] | None = None
        running: asyncio.Task[None] | None = None
        busy_at = time.monotonic()
        led = False
        try:
            while not self._stopping:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), _LOOK)
                self._changed.clear()
                leads = self._leadership.certain
                if leads and not led and not await self._knows():
                    continue
                led = leads
                if not self._follower.caught_up or any(job.open for job in self._book) or planning or running:
                    busy_at = time.monotonic()
                elif time.monotonic() - busy_at > _IDLE:
                    return
                planning = None if planning is not None and planning.done() else planning
                running = None if running is not None and running.done() else running
                if not leads:
                    continue
                if planning is None and (job := next((job for job in self._book if job.to_plan), None)) is not None:
                    planning = asyncio.create_task(self._shielded(self._plan(job), job, "planned"))
                    planning.add_done_callback(lambda _: self._changed.set())
                if running is None and (job := self._book.current) is not None:
                    running = asyncio.create_task(self._shielded(self._run(job), job, "run"))
                    running.add_done_callback(lambda _: self._changed.set())
        finally:
            self._stopping = True
            self._planner.stop()
            left = [task for task in (planning, running) if task is not None]
            if left:
                await asyncio.wait(left, timeout=_CATCH_UP.total_seconds())
            await self._log.close()
            await asyncio.to_thread(self._leadership.stop)
            await self._follower.close()
            await self._view.close()

    async def _knows(self) -> bool:
        """Whether all that former leaders told has been read."""
        try:
            await self._follower.current(_CATCH_UP)
        except BrokerUnavailableError as error:
            log.warning("replays are not known yet", said=str(error))
            return False
        log.info("this process runs replays", replays=len(self._book.jobs))
        return True

    async def _shielded(self, work: Awaitable[None], job: Job, what: str) -> None:
        """Nothing that happens to one job ends the process; trouble that passes is waited out."""
        try:
            await work
        except InvalidReplayError as error:
            await self._fail(job, error.detail)
        except LeadLostError:
            log.warning("replay left to another process", replay=job.id)
        except LanewayError as error:
            log.warning(f"replay not {what} yet", replay=job.id, said=str(error))
            await asyncio.sleep(_BACKOFF)
        except Exception as error:  # the boundary of a job: the next one follows
            log.exception("replay failed", replay=job.id)
            await self._fail(job, f"{type(error).__name__}: {error}")

    async def _fail(self, job: Job, reason: str) -> None:
        now = datetime.now(UTC)
        before = job.run
        run = ReplayRun(
            state=ReplayState.FAILED,
            reason=reason,
            replayed=before.replayed if before else 0,
            passed_over=before.passed_over if before else {},
            records=before.records if before else 0,
            seconds=before.seconds if before else 0.0,
            started_at=before.started_at if before else None,
            finished_at=now,
            updated_at=now,
            runner=self._name,
        )
        with contextlib.suppress(LanewayError):  # not told: tried again, with the same end
            await self._log.send([run_record(self._topics, self._settings.kafka.partitions, job.id, run)])
            job.run = run

    async def _strongly(self) -> None:
        """Wait until the view has everything that the log has now."""
        ends = await self._view.ends()
        for _ in range(12):
            try:
                await self._view.reach(ends)
            except UnavailableError:
                if self._stopping or not self._leadership.certain:
                    raise
            else:
                return
        await self._view.reach(ends)

    async def _plan(self, job: Job) -> None:
        if job.replay is None:
            return
        await self._strongly()
        plan = await asyncio.to_thread(self._planner.plan, job.replay)
        log.info("replay planned", replay=job.id, selected=plan.selected, seconds=plan.planned_in)
        now = datetime.now(UTC)
        await self._log.send(
            [part_record(self._topics, self._settings.kafka.partitions, job.id, PLAN, plan, now)], urgent=True
        )
        job.plan = plan

    async def _run(self, job: Job) -> None:
        await self._strongly()
        session = Session(self._settings, self._registry, self._log, job, self._may_run, self._name)
        self._leadership.working(on=True)
        try:
            await session.run()
        finally:
            self._leadership.working(on=False)
            # What was told is known here before it comes back: else the job would be begun once more.
            if job.run is None or session.told.updated_at >= job.run.updated_at:
                job.run = session.told

    def _leads_or_not(self) -> None:
        """From the thread of the group."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: the process ends
            self._loop.call_soon_threadsafe(self._changed.set)

    def _may_run(self) -> bool:
        return self._leadership.certain and not self._stopping

    def _take(self, record: TableRecord) -> None:
        try:
            self._book.apply(record.key, record.value)
        except UndecodableRecordError as error:
            at = position(self._topics.replays, record.partition, record.offset)
            log.warning("unreadable record of a replay skipped", position=at, said=str(error))
        self._changed.set()
