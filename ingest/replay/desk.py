"""Replays as the API takes and tells them: kept in the log, followed in memory, run by a child while one is open."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Final

import msgspec
import structlog

from ingest.admission import SOURCE, Moment, decode_body
from ingest.child import run_child
from ingest.replay.book import Job, ReplayBook
from ingest.replay.choosing import Chooser
from ingest.replay.patching import transform_of
from laneway.ids import new_id
from laneway.kafka.log import Log
from laneway.kafka.records import TableRecord
from laneway.kafka.table import TableFollower
from laneway.kafka.wire import EncodedRecord, encoded_record
from laneway.registry import Registry
from schemas.codec import encode
from schemas.errors import (
    BrokerUnavailableError,
    InvalidReplayError,
    InvalidTaskError,
    ReplayConflictError,
    ReplayNotFoundError,
    TypeNotFoundError,
    UnavailableError,
    UndecodableRecordError,
)
from schemas.headers import cloud_event
from schemas.replay import ASKED, Replay, ReplayAsked, ReplaySubmission, ReplayView, Source, Wish, replay_key
from schemas.settings import Settings
from schemas.task import OWN_WORD, Priority
from schemas.topics import Topics, partition_of, position

log = structlog.get_logger(__name__)

_DECODER: Final = msgspec.json.Decoder(ReplaySubmission)
_FIRST_BACKOFF: Final = 0.5
_LONGEST_BACKOFF: Final = 10.0
_HEALTHY_SECONDS: Final = 30.0
_STOP_SECONDS: Final = 8.0
_TOLD: Final = 100
"""Jobs in a listing, the newest."""


class Replays:
    """Keeps replays.

    Delivery: an answer means that every in-sync replica has what was asked; what is told is not older than the call.

    Raises:
        AdmissionError: (every method that is asked) it is refused, or cannot be known or kept now.
    """

    def __init__(self, settings: Settings, registry: Registry, log: Log, imports: tuple[str, ...]) -> None:
        self._settings = settings
        self._registry = registry
        self._log = log
        self._imports = imports
        self._topic = Topics(settings.kafka.topic_prefix).replays
        self._partitions = settings.kafka.partitions
        self._bound = timedelta(seconds=settings.api.accept_timeout)
        self._book = ReplayBook()
        self._moved = asyncio.Event()
        self._follower = TableFollower(settings, [self._topic], self._apply, "laneway-api-replays")
        self._keeping: asyncio.Task[None] | None = None
        self.pid: int | None = None
        """Process id of what runs replays, if it is ours and runs."""

    def start(self, keeper: asyncio.Event) -> None:
        """Begin to follow the log, and, once ``keeper`` is set, to keep a process running while a job is open."""
        self._follower.start()
        self._keeping = asyncio.create_task(self._keep(keeper))

    async def close(self) -> None:
        """Stop both."""
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
        await self._follower.close()

    @property
    def known(self) -> bool:
        """Whether the log has once been read to its end."""
        return self._follower.caught_up

    async def make(self, body: bytes, moment: Moment, wait: float, *, dead: bool = False) -> ReplayView:
        """Take a job in, of dead letters where ``dead``; held until its plan is made, at most ``wait`` seconds."""
        try:
            submission = decode_body(_DECODER, body)
        except InvalidTaskError as error:
            raise InvalidReplayError(error.detail, **error.extensions) from error
        if dead:
            submission = msgspec.structs.replace(submission, source=Source.DEAD_LETTERS)
        self._check(submission)
        replay = Replay(
            id=new_id(),
            created_at=moment.now,
            **{name: getattr(submission, name) for name in ReplaySubmission.__struct_fields__},
        )
        await self._catch_up()
        await self._append(replay.id, None, encode(replay), moment)
        log.info("replay asked for", replay=replay.id, dry_run=replay.dry_run, source=replay.source.value)
        return await self._after(replay.id, wait, lambda job: job.plan is not None or job.state.final)

    async def find(self, replay_id: str, wait: float = 0.0) -> ReplayView:
        """A job; held until it has ended, or has its plan where it is for no more, at most ``wait`` seconds."""
        await self._catch_up()
        self._job(replay_id)
        return await self._after(replay_id, wait, lambda job: not job.open)

    async def every(self) -> list[ReplayView]:
        """The latest jobs, newest first."""
        await self._catch_up()
        told = (self._book.told(job) for job in reversed(list(self._book)))
        return [view for view in told if view is not None][:_TOLD]

    async def ask(self, replay_id: str, wish: Wish, moment: Moment) -> ReplayView:
        """Have a job run, paused or aborted. Answers as soon as that is on record; it takes effect within a second."""
        await self._catch_up()
        job = self._job(replay_id)
        if job.state.final and not (wish is Wish.ABORT and job.wish is Wish.ABORT):
            raise ReplayConflictError(f"the replay is {job.state}; nothing more comes of it", id=replay_id)
        if wish is Wish.PAUSE and job.wish is None:
            raise ReplayConflictError("it was only to be planned, so there is nothing to pause", id=replay_id)
        if job.wish is not wish:
            await self._append(replay_id, ASKED, encode(ReplayAsked(wish=wish, at=moment.now)), moment)
            log.info("replay", replay=replay_id, asked=wish.value)
        found = self._book.told(job)
        if found is None:
            raise self._unknown(replay_id)
        return found

    def _check(self, submission: ReplaySubmission) -> None:
        select = submission.select
        select.check()
        Chooser(select, submission.source)
        for name in select.types or ():
            if name not in self._registry:
                raise TypeNotFoundError(f"no task type {name!r}", known=self._registry.names)
        if submission.transform is not None:
            transform_of(submission.transform)
        if select.offsets is not None:
            lead = Topics(self._settings.kafka.topic_prefix).task_topics
            wrong = [place for place in select.offsets if not place.startswith(lead)]
            if wrong:
                raise InvalidReplayError(f"select.offsets: {wrong[0]!r} is no part of {lead}…; want topic-partition")
        if submission.shadow and any(name.partition(".")[0] == OWN_WORD for name in select.types or ()):
            raise InvalidReplayError("select.types: Laneway's own types act outside alone; there is nothing to compare")
        if submission.shadow and submission.canary is not None:
            raise InvalidReplayError("canary: a shadow run succeeds or fails for nobody; try a few by `max`")
        if submission.shadow and submission.priority is not Priority.LOW:
            raise InvalidReplayError("priority: shadow runs go into the low lane alone; leave it out")

    def _job(self, replay_id: str) -> Job:
        job = self._book.jobs.get(replay_id)
        if job is None or job.replay is None:
            raise self._unknown(replay_id)
        return job

    @staticmethod
    def _unknown(replay_id: str) -> ReplayNotFoundError:
        return ReplayNotFoundError("no replay of this id", id=replay_id[:100])

    async def _after(self, replay_id: str, wait: float, enough: Callable[[Job], bool]) -> ReplayView:
        deadline = time.monotonic() + wait
        while not enough(self._job(replay_id)) and (left := deadline - time.monotonic()) > 0:
            moved = self._moved
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(moved.wait(), left)
        found = self._book.told(self._job(replay_id))
        if found is None:
            raise self._unknown(replay_id)
        return found

    async def _append(self, replay_id: str, part: str | None, value: bytes, moment: Moment) -> None:
        """Have a part of a job on every in-sync replica, and known here."""
        record = self._record(replay_id, part, value, moment)
        appended = await self._log.send([record], urgent=True)
        try:
            await self._follower.reach(
                self._topic, record.partition, appended.last[self._topic, record.partition], self._bound
            )
        except BrokerUnavailableError as error:
            raise UnavailableError(f"it is on record, but not known here yet: {error}") from error

    def _record(self, replay_id: str, part: str | None, value: bytes, moment: Moment) -> EncodedRecord:
        key = replay_key(replay_id, part)
        event_id = f"{key.decode()}.{moment.stamp.decode()}"
        headers = cloud_event("replay", event_id, SOURCE, moment.stamp, moment.traceparent)
        return encoded_record(self._topic, partition_of(replay_id, self._partitions), key, value, headers)

    async def _catch_up(self) -> None:
        try:
            await self._follower.current(self._bound)
        except BrokerUnavailableError as error:
            raise UnavailableError(f"replays cannot be known yet: {error}; ask again") from error

    def _apply(self, record: TableRecord) -> None:
        try:
            self._book.apply(record.key, record.value)
        except UndecodableRecordError as error:
            at = position(self._topic, record.partition, record.offset)
            log.warning("unreadable record of a replay skipped", position=at, said=str(error))
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()

    async def _keep(self, keeper: asyncio.Event) -> None:
        """While a job is open, keep a process running that sees to it."""
        await keeper.wait()
        backoff = _FIRST_BACKOFF
        arguments = ["replay-process", *(part for module in self._imports for part in ("--import", module))]
        while True:
            while not (self._follower.caught_up and any(job.open for job in self._book)):
                await self._moved.wait()
            began = time.monotonic()
            code = await run_child(
                self._settings, "laneway.cli", arguments, started=self._started, stop_within=_STOP_SECONDS
            )
            if code == 0 or time.monotonic() - began > _HEALTHY_SECONDS:
                backoff = _FIRST_BACKOFF
            if code != 0:
                log.error("replays: the process ended; it is started again", exit_code=code, after_seconds=backoff)
                await asyncio.sleep(backoff)
                backoff = min(backoff * 2, _LONGEST_BACKOFF)

    def _started(self, pid: int | None) -> None:
        self.pid = pid
        if pid is not None:
            log.info("replays: a process sees to them", pid=pid)
