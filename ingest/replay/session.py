"""Running a job: from where it stands until it is done, paused, aborted, or somebody else's."""

import asyncio
import contextlib
import math
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import msgspec
import structlog

from ingest.replay.book import Job
from ingest.replay.judging import UNDECODABLE, Judge, Judged
from ingest.replay.pacing import Pace
from ingest.replay.reading import PastReader
from ingest.replay.recent import RecentReplays
from ingest.replay.records import Replayed, ReplayRecords, run_record
from ingest.replay.statuses import Statuses
from laneway.kafka.log import Log
from laneway.registry import Registry
from schemas import codec
from schemas.errors import LanewayError
from schemas.replay import Canary, Replay, ReplayPlan, ReplayRun, ReplayState, Wish
from schemas.settings import Settings
from schemas.status import State, Status
from schemas.topics import Topics

log = structlog.get_logger(__name__)

_CHUNK: Final = 500
_IN_FLIGHT: Final = 8
"""Chunks on their way to the broker."""
_MOST_UNCERTAIN: Final = _CHUNK * _IN_FLIGHT
"""Tasks of one partition that a killed process may have appended without a status that tells of them."""
_READ_WITHIN: Final = 0.05
_BURST_BYTES: Final = 262_144
_SAVE_EVERY: Final = 1.0
_LOOK: Final = 0.1
_SETTLE_WITHIN: Final = 30.0


class LeadLostError(Exception):
    """Another process may run replays now."""


class _RestError(Exception):
    """The job is to stop where it is."""

    def __init__(self, state: ReplayState, reason: str | None = None) -> None:
        self.state = state
        self.reason = reason
        super().__init__(state, reason)


@dataclass(eq=False, slots=True)
class _Batch:
    """What was read in one go."""

    positions: dict[str, int]
    """Where it leaves the reader."""
    records: int
    """Read until its end."""
    open: int = 1
    """Chunks that are not durable, and one as long as it may get more."""
    replayed: int = 0
    passed_over: Counter[str] = field(default_factory=Counter)


class Session:
    """One process's turn at a job. All methods belong to one loop.

    Delivery: a task is appended before the status that tells of its new generation, and ``positions`` pass it once both
        are durable. Whoever goes on from there finds the status and leaves the task alone, or appends it again, marked,
        under the same generation: it runs once.

    Args:
        settings: of the process.
        registry: of the types that may be replayed.
        log_: where records go.
        job: as the table knows it, kept current by whoever follows the table.
        leads: whether this process may append.
        runner: its name.
    """

    def __init__(
        self, settings: Settings, registry: Registry, log_: Log, job: Job, leads: Callable[[], bool], runner: str
    ) -> None:
        if job.replay is None or job.plan is None:
            raise ValueError(f"replay {job.id} has no plan")
        self._settings = settings
        self._topics = Topics(settings.kafka.topic_prefix)
        self._registry = registry
        self._log = log_
        self._job = job
        self._replay: Replay = job.replay
        self._plan: ReplayPlan = job.plan
        self._leads = leads
        self._runner = runner
        now = datetime.now(UTC)
        self._run = job.run or ReplayRun(state=ReplayState.PLANNED, updated_at=now)
        self._resumed = self._run.started_at is not None
        self._since = self._run.since or self._run.started_at or now
        self._records = ReplayRecords(self._replay, self._topics, settings.kafka.partitions, registry)
        self._began = time.monotonic()
        self._seconds_before = self._run.seconds
        self._pace = Pace(self._replay.rate)
        self._batches: deque[_Batch] = deque()
        self._sending: dict[asyncio.Task[None], datetime] = {}
        self._room = asyncio.Semaphore(_IN_FLIGHT)
        self._failed: BaseException | None = None
        self._taken = self._run.replayed
        self._canary = list(self._run.canary)
        self._canary_over = self._run.canary_over or self._replay.canary is None
        self._fresh: dict[tuple[str, int], int] = {}
        """By place: tasks that this session has appended, which no other one had."""
        self._shadowed: set[int] = set()
        """Hashes of tasks with a shadow, of which no status tells: a lane may hold a record twice."""
        self._found: set[str] = set()
        """Tasks that a former session had appended, though its positions do not say so."""
        self._saved_at = 0.0

    async def run(self) -> None:
        """Go on with the job.

        Raises:
            LeadLostError: another process may be at it.
            LanewayError: the broker or the view is in trouble; another session goes on later.
        """
        now = datetime.now(UTC)
        try:
            self._check()
            self._run = msgspec.structs.replace(
                self._run, started_at=self._run.started_at or now, since=self._since, reason=None
            )
            await self._save(ReplayState.RUNNING)
            with contextlib.closing(Statuses(self._settings)) as statuses:
                self._recent = RecentReplays(self._topics.status, statuses)
                self._judge = Judge(self._replay, self._registry, statuses)
                self._statuses = statuses
                await self._read_all()
        except _RestError as rest:
            await self._settled()
            if rest.state.final:
                self._add_up([*self._batches])
            await self._save(rest.state, rest.reason)
            log.info("replay rests", replay=self._job.id, state=rest.state.value, replayed=self._run.replayed)
        except BaseException:
            await self._settled()
            raise
        else:
            await self._save(ReplayState.DONE)
            log.info("replay done", replay=self._job.id, replayed=self._run.replayed, seconds=self._run.seconds)

    @property
    def told(self) -> ReplayRun:
        """How far the job is, as it was said last."""
        return self._run

    # Reading ------------------------------------------------------------------------------------------------------

    async def _read_all(self) -> None:
        rate = self._replay.rate
        count = min(2 * _CHUNK, max(20, int(rate / 4))) if rate else 2 * _CHUNK
        reader = PastReader(
            self._settings,
            self._plan.sources,
            "laneway-replay",
            positions=self._run.positions,
            burst_bytes=_BURST_BYTES if rate else 4 * _BURST_BYTES,
        )
        before, undecodable = self._run.records, 0
        try:
            while not reader.over and not self._full():
                self._check()
                pasts = await asyncio.to_thread(reader.read, count, _READ_WITHIN)
                batch = _Batch({**self._run.positions, **reader.positions}, before + reader.records)
                if reader.undecodable > undecodable:
                    batch.passed_over[UNDECODABLE] += reader.undecodable - undecodable
                    undecodable = reader.undecodable
                self._batches.append(batch)
                chunk: list[Judged] = []
                for judged in self._judge.judge(pasts):
                    if self._full():
                        break
                    if self._wanted(judged, batch):
                        chunk.append(judged)
                        self._taken += 1
                        if len(chunk) >= self._chunk_size:
                            await self._send(chunk, batch)
                            chunk = []
                await self._send(chunk, batch)
                batch.open -= 1
                await self._look_after()
        finally:
            await asyncio.to_thread(reader.close)
        while self._sending:
            self._check()
            await asyncio.wait(self._sending, timeout=_LOOK)
        self._check()
        self._settle()

    def _full(self) -> bool:
        return self._replay.max is not None and self._taken >= self._replay.max

    @property
    def _chunk_size(self) -> int:
        size = self._pace.chunk(_CHUNK)
        if self._canary_over or self._replay.canary is None:
            return size
        return max(1, min(size, self._replay.canary.count - len(self._canary)))

    def _wanted(self, judged: Judged, batch: _Batch) -> bool:
        """Whether a selected task is to be appended; counts what is not."""
        past = judged.past
        place, task_id = (past.topic, past.partition), past.task.id
        if judged.mine:
            # Told by a former session that was not to save its positions any more: only before what is new.
            if self._resumed and place not in self._fresh and task_id not in self._found:
                self._found.add(task_id)
                self._taken += 1
                batch.replayed += 1
                self._in_canary(task_id)
            return False
        known = hash(task_id) in self._shadowed if self._replay.shadow else task_id in self._recent
        if known:
            return False
        if judged.why_not is not None:
            batch.passed_over[judged.why_not] += 1
            return False
        if self._replay.shadow:
            self._shadowed.add(hash(task_id))
        else:
            self._recent.add(task_id)
        return True

    def _in_canary(self, task_id: str) -> None:
        if not self._canary_over and task_id not in self._canary:
            self._canary.append(task_id)

    # Appending ----------------------------------------------------------------------------------------------------

    async def _send(self, chunk: list[Judged], batch: _Batch) -> None:
        if not chunk:
            return
        wait = self._pace.take(len(chunk))
        while wait > 0:
            await asyncio.sleep(min(wait, _LOOK))
            wait -= _LOOK
            self._check()
        await self._room.acquire()
        try:
            self._check()
        except BaseException:
            self._room.release()
            raise
        now = datetime.now(UTC)
        if self._replay.shadow:
            made = [self._records.shadow(judged, now) for judged in chunk]
        else:
            made = [self._records.task(judged, now, self._doubt(judged)) for judged in chunk]
        batch.open += 1
        for each in made:
            self._in_canary(each.id)
        sending = asyncio.create_task(self._append(made, batch))
        self._sending[sending] = now
        sending.add_done_callback(self._sent)
        await self._look_after()

    def _doubt(self, judged: Judged) -> datetime | None:
        """Since when a former session may have appended this very task; ``None`` when it has not for certain."""
        place = (judged.past.topic, judged.past.partition)
        count = self._fresh[place] = self._fresh.get(place, 0) + 1
        return self._since if self._resumed and count <= _MOST_UNCERTAIN else None

    async def _append(self, made: list[Replayed], batch: _Batch) -> None:
        await self._log.send([each.task for each in made])
        if not self._replay.shadow:
            appended = await self._log.send([record for each in made for record in each.told])
            self._recent.appended([each.id for each in made], appended)
        batch.replayed += len(made)
        batch.open -= 1

    def _sent(self, sending: "asyncio.Task[None]") -> None:
        del self._sending[sending]
        self._room.release()
        if not sending.cancelled() and (error := sending.exception()) is not None and self._failed is None:
            self._failed = error

    # Along the way ------------------------------------------------------------------------------------------------

    def _check(self) -> None:
        """Go on only where this process may, and is to."""
        if self._failed is not None:
            raise self._failed
        if not self._leads():
            raise LeadLostError
        wish = self._job.wish
        if wish is Wish.ABORT:
            raise _RestError(ReplayState.ABORTED)
        if wish is Wish.PAUSE:
            raise _RestError(ReplayState.PAUSED)

    async def _look_after(self) -> None:
        """Save what is certain, forget what the view has, wait for a canary, or for a view that lags."""
        self._settle()
        now = time.monotonic()
        if now - self._saved_at > _SAVE_EVERY:
            self._recent.forget()
            await self._save(ReplayState.RUNNING)
        while self._recent.full:
            await asyncio.sleep(_LOOK)
            self._check()
            self._recent.forget()
        canary = self._replay.canary
        if canary is not None and not self._canary_over and len(self._canary) >= canary.count:
            await self._watch(canary)

    async def _watch(self, canary: Canary) -> None:
        """Return once enough of the first tasks have succeeded."""
        while self._sending:
            self._check()
            await asyncio.wait(self._sending, timeout=_LOOK)
        self._run = msgspec.structs.replace(self._run, canary_since=self._run.canary_since or datetime.now(UTC))
        need = math.ceil(canary.success * canary.count)
        reason = f"waits for its canary: {need} of {canary.count} have to succeed"
        await self._save(ReplayState.RUNNING, reason)
        while True:
            self._check()
            succeeded = failed = 0
            for known in self._statuses.find(self._canary).values():
                if known.state.final and codec.decode(known.document, Status).replay_id == self._job.id:
                    succeeded += known.state is State.SUCCEEDED
                    failed += known.state is not State.SUCCEEDED
            if succeeded >= need:
                break
            since = self._run.canary_since
            waited = 0.0 if since is None else (datetime.now(UTC) - since).total_seconds()
            late = f" within {canary.within:g} s" if waited > canary.within else ""
            if late or failed > canary.count - need:
                told = f"{succeeded} of {canary.count} succeeded{late}, {failed} did not; wanted {need}"
                raise _RestError(ReplayState.FAILED, f"its canary failed: {told}")
            await asyncio.sleep(_LOOK)
        self._canary_over = True
        log.info("canary passed", replay=self._job.id, succeeded=succeeded, failed=failed)
        await self._save(ReplayState.RUNNING)

    def _settle(self) -> None:
        """Pass what is durable, in the order of reading."""
        over: list[_Batch] = []
        while self._batches and not self._batches[0].open:
            over.append(self._batches.popleft())
        if over:
            self._add_up(over)
            self._run = msgspec.structs.replace(self._run, positions=over[-1].positions, records=over[-1].records)

    def _add_up(self, batches: list[_Batch]) -> None:
        passed_over = Counter(self._run.passed_over)
        for batch in batches:
            passed_over.update(batch.passed_over)
        self._run = msgspec.structs.replace(
            self._run,
            replayed=self._run.replayed + sum(batch.replayed for batch in batches),
            passed_over=dict(sorted(passed_over.items())),
        )

    async def _settled(self) -> None:
        """Wait for what is on its way."""
        if self._sending:
            await asyncio.wait(self._sending, timeout=_SETTLE_WITHIN)
        self._settle()

    async def _save(self, state: ReplayState, reason: str | None = None) -> None:
        """Append how far it is.

        Raises:
            LeadLostError: that is not for this process to say any more.
        """
        if not self._leads():
            raise LeadLostError
        now = datetime.now(UTC)
        self._saved_at = time.monotonic()
        self._run = msgspec.structs.replace(
            self._run,
            state=state,
            reason=reason,
            since=min(self._sending.values(), default=now),
            canary=[] if self._canary_over else self._canary,
            canary_over=self._canary_over,
            seconds=round(self._seconds_before + time.monotonic() - self._began, 3),
            finished_at=now if state.final else None,
            updated_at=now,
            runner=self._runner,
        )
        try:
            await self._log.send(
                [run_record(self._topics, self._settings.kafka.partitions, self._job.id, self._run)], urgent=True
            )
        except LanewayError as error:
            if state.final:
                raise
            log.warning("replay: progress not saved", replay=self._job.id, said=str(error))
