"""Schedules as the API takes and tells them: kept in the log, followed in memory."""

from datetime import datetime, timedelta
from itertools import islice
from typing import Final

import msgspec
import structlog

from ingest.admission import SOURCE, Admission, Moment, decode_body
from ingest.violations import invalid
from laneway.cron import Cron, CronError, TimeZoneError
from laneway.ids import new_id
from laneway.kafka.log import Log
from laneway.kafka.records import TableRecord
from laneway.kafka.table import TableFollower
from laneway.kafka.wire import EncodedRecord, encoded_record
from laneway.schedules import ScheduleBook, ScheduleEntry
from schemas.codec import encode
from schemas.errors import (
    BrokerUnavailableError,
    InvalidTaskError,
    ScheduleNotFoundError,
    UnavailableError,
    UndecodableRecordError,
)
from schemas.headers import cloud_event
from schemas.schedule import (
    DONE,
    FIRED,
    LastFiring,
    Schedule,
    ScheduleSubmission,
    ScheduleView,
    TaskTemplate,
    schedule_key,
)
from schemas.settings import Settings
from schemas.topics import Topics, partition_of, position

log = structlog.get_logger(__name__)

_NEXT: Final = 3
_DECODER: Final = msgspec.json.Decoder(ScheduleSubmission)


class Schedules:
    """Keeps schedules.

    Delivery: an answer to ``put`` or ``delete`` means that every in-sync replica has it; what ``find`` and ``every``
        tell is not older than their call, whichever instance had taken it in.

    Raises:
        AdmissionError: (every method that is asked) it is refused, or cannot be known or kept now.
    """

    def __init__(self, settings: Settings, admission: Admission, log: Log) -> None:
        self._admission = admission
        self._log = log
        self._topic = Topics(settings.kafka.topic_prefix).schedules
        self._partitions = settings.kafka.partitions
        self._bound = timedelta(seconds=settings.api.accept_timeout)
        self._book = ScheduleBook(self._partitions)
        self._follower = TableFollower(settings, [self._topic], self._apply, "laneway-api-schedules")

    def start(self) -> None:
        """Begin to follow the log."""
        self._follower.start()

    async def close(self) -> None:
        """Stop following it."""
        await self._follower.close()

    @property
    def known(self) -> bool:
        """Whether the log has once been read to its end."""
        return self._follower.caught_up

    async def put(self, body: bytes, moment: Moment) -> tuple[ScheduleView, bool]:
        """Make a schedule, or replace the one of its name; answers whether it was not there before.

        One that is what there is already keeps the time of its definition, so that nothing missed is forgotten.
        """
        submission = decode_body(_DECODER, body)
        schedule, cron = self._admitted(submission, moment)
        await self._catch_up()
        entry = self._book.entries.get(schedule.name) or ScheduleEntry(schedule.name)
        present = entry.schedule
        if present is not None:
            same = msgspec.structs.replace(schedule, defined_at=present.defined_at, max_attempts=present.max_attempts)
            schedule = present if same == present else schedule
        await self._log.send([self._record(schedule.name, None, encode(schedule), moment)], urgent=True)
        log.info("schedule defined", schedule=schedule.name, cron=schedule.cron, timezone=schedule.timezone)
        told = ScheduleEntry(schedule.name, schedule, cron, entry.progress, entry.done)
        return view_of(schedule, told, moment.now), present is None

    async def find(self, name: str, now: datetime) -> ScheduleView:
        """The schedule of this name."""
        await self._catch_up()
        entry = self._book.entries.get(name)
        if entry is None or entry.schedule is None:
            raise ScheduleNotFoundError(f"no schedule {name[:100]!r}", known=sorted(self._defined())[:20])
        return view_of(entry.schedule, entry, now)

    async def every(self, now: datetime) -> list[ScheduleView]:
        """All schedules, by name."""
        await self._catch_up()
        return [view_of(schedule, self._book.entries[name], now) for name, schedule in sorted(self._defined().items())]

    async def delete(self, name: str, moment: Moment) -> None:
        """Have a schedule fire no more. What it made already goes on."""
        await self.find(name, moment.now)
        parts = (FIRED, DONE, None)
        await self._log.send([self._record(name, part, None, moment) for part in parts], urgent=True)
        log.info("schedule deleted", schedule=name)

    def _defined(self) -> dict[str, Schedule]:
        return {name: entry.schedule for name, entry in self._book.entries.items() if entry.schedule is not None}

    def _admitted(self, submission: ScheduleSubmission, moment: Moment) -> tuple[Schedule, Cron]:
        """The schedule that is asked for, if each of its parts can be."""
        task = submission.task
        for name in ("run_at", "delay"):
            if getattr(task, name) is not None:
                raise invalid(f"/task/{name}", "the schedule decides when its tasks run: leave it out")
        try:
            cron = Cron(submission.cron, submission.timezone)
        except CronError as error:
            raise invalid("/cron", str(error)) from error
        except TimeZoneError as error:
            raise invalid("/timezone", str(error)) from error
        try:
            self._admission.accept(task, moment, new_id())
        except InvalidTaskError as error:
            found = error.extensions.get("violations")
            placed = [{**each, "at": f"/task{each['at']}"} for each in found] if isinstance(found, list) else []
            raise InvalidTaskError(f"task: {error.detail}", violations=placed) from error
        template = TaskTemplate(**{name: getattr(task, name) for name in TaskTemplate.__struct_fields__})
        schedule = Schedule(
            name=submission.name,
            cron=submission.cron,
            timezone=submission.timezone,
            task=template,
            missed=submission.missed,
            overlap=submission.overlap,
            paused=submission.paused,
            defined_at=moment.now,
            max_attempts=task.max_attempts or self._admission.type_of(task.type).retry.max_attempts,
        )
        return schedule, cron

    def _record(self, name: str, part: str | None, value: bytes | None, moment: Moment) -> EncodedRecord:
        key = schedule_key(name, part)
        event_id = f"{key.decode()}.{moment.stamp.decode()}"
        headers = cloud_event("schedule", event_id, SOURCE, moment.stamp, moment.traceparent)
        return encoded_record(self._topic, partition_of(name, self._partitions), key, value, headers)

    async def _catch_up(self) -> None:
        """Wait until everything that was in the log at the call is known."""
        try:
            await self._follower.current(self._bound)
        except BrokerUnavailableError as error:
            raise UnavailableError(f"schedules cannot be known yet: {error}; ask again") from error

    def _apply(self, record: TableRecord) -> None:
        try:
            self._book.apply(record.partition, record.key, record.value)
        except UndecodableRecordError as error:
            at = position(self._topic, record.partition, record.offset)
            log.warning("unreadable record of a schedule skipped", position=at, said=str(error))


def view_of(schedule: Schedule, entry: ScheduleEntry, now: datetime) -> ScheduleView:
    """A schedule as the API tells it."""
    progress, done, cron = entry.progress, entry.done, entry.cron
    last = None
    if progress is not None and progress.fired_at is not None:
        ended = done if done is not None and done.task_id == progress.task_id else None
        last = LastFiring(
            at=progress.fired_at,
            task_id=progress.task_id,
            state=ended.state if ended else None,
            ended_at=ended.at if ended else None,
        )
    times = cron.times(now) if cron is not None and not schedule.paused else iter(())
    return ScheduleView(
        name=schedule.name,
        cron=schedule.cron,
        timezone=schedule.timezone,
        task=schedule.task,
        missed=schedule.missed,
        overlap=schedule.overlap,
        paused=schedule.paused,
        defined_at=schedule.defined_at,
        next=[at.astimezone(cron.zone) for at in islice(times, _NEXT)] if cron is not None else [],
        last=last,
        passed_over=progress.passed_over if progress is not None else None,
    )
