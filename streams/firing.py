"""What a schedule does when its time has come: which times it fires for, and the records that make a task. No I/O."""

from datetime import datetime, timedelta
from itertools import islice, takewhile
from typing import Final, NamedTuple

from msgspec import UNSET

from laneway.cron import Cron
from laneway.ids import random_hex
from laneway.kafka.records import OutgoingRecord
from laneway.schedules import ScheduleEntry, firing_id
from schemas import codec
from schemas.headers import MAY_REPEAT, cloud_event, timestamp
from schemas.outcome import Event
from schemas.schedule import FIRED, Missed, Overlap, PassedOver, Schedule, ScheduleProgress, schedule_key
from schemas.status import State, Status
from schemas.task import Lane, Task
from schemas.topics import Topics, partition_of

MOST_AT_ONCE: Final = 100
"""Times of one schedule that are made up for in one go; the rest follows at once."""
_STILL_IN_TIME: Final = timedelta(seconds=2)
_RESOLUTION: Final = timedelta(seconds=1)
_INSTANT: Final = timedelta(microseconds=1)


class Firing(NamedTuple):
    """What is to be done for a schedule now."""

    times: list[datetime]
    """Those that it makes a task for, oldest first."""
    progress: ScheduleProgress
    """How far it has come once they are made."""
    passed_over: PassedOver | None
    """Those that it makes none for."""


def due(entry: ScheduleEntry, now: datetime) -> Firing | None:
    """What becomes of the times up to ``now`` that are not handled; ``None`` where there are none."""
    schedule, cron, since, first = entry.schedule, entry.cron, entry.since, entry.next_at
    if schedule is None or cron is None or since is None or first is None or first > now:
        return None
    times, passed_over = _made_up(schedule.missed, cron, since, first, now)
    last = times[-1] if times else now
    if schedule.overlap is Overlap.SKIP and times:
        free = 0 if entry.running else 1
        if over := times[free:]:
            passed_over = PassedOver(since=over[0], until=over[-1], why="overlap")
        times = times[:free]
    former = entry.progress or ScheduleProgress(last=last)
    return Firing(
        times,
        ScheduleProgress(
            last=last,
            fired_at=times[-1] if times else former.fired_at,
            task_id=firing_id(schedule.name, times[-1]) if times else former.task_id,
            passed_over=passed_over or former.passed_over,
        ),
        passed_over,
    )


def _made_up(
    missed: Missed, cron: Cron, since: datetime, first: datetime, now: datetime
) -> tuple[list[datetime], PassedOver | None]:
    """Which times fire, and which are passed over because they were missed."""
    if missed is Missed.ALL:
        return list(islice(takewhile(lambda at: at <= now, cron.times(since)), MOST_AT_ONCE)), None
    if missed is Missed.ONE:
        latest = cron.latest(since, now) or first
        times, missed_until = [latest], latest - _RESOLUTION
    else:
        missed_until = now - _STILL_IN_TIME - _INSTANT
        times = list(takewhile(lambda at: at <= now, cron.times(max(since, missed_until))))
    if first > missed_until:
        return times, None
    return times, PassedOver(since=first, until=cron.latest(since, missed_until) or first, why="missed")


class FiringRecords:
    """Builds the records of firings."""

    def __init__(self, topics: Topics, partitions: int, worker: str) -> None:
        self._topics = topics
        self._partitions = partitions
        self._source = f"/laneway/worker/{worker}".encode()

    def lane(self, schedule: Schedule) -> str:
        """Where its tasks go."""
        return self._topics.lane(Lane(schedule.task.type, schedule.task.priority))

    def task(self, schedule: Schedule, at: datetime, now: datetime) -> list[OutgoingRecord]:
        """A task for the time ``at``, with its first status and event.

        It may be made more than once: by who crashes before the progress is durable, and by who was given up while it
        was at it. So the task's record says of each that its run may be asked for again; workers look it up.
        """
        template = schedule.task
        task = Task(
            id=firing_id(schedule.name, at),
            type=template.type,
            payload=template.payload,
            priority=template.priority,
            created_at=now,
            max_attempts=template.max_attempts,
            timeout=template.timeout,
            run_at=at,
            expires_at=template.expires_at,
            ordering_key=template.ordering_key,
            labels=template.labels,
            callback_url=template.callback_url,
            schedule=schedule.name,
        )
        status = Status(
            id=task.id,
            type=task.type,
            priority=task.priority,
            state=State.QUEUED,
            max_attempts=template.max_attempts or schedule.max_attempts,
            created_at=now,
            updated_at=now,
            labels=task.labels,
            ordering_key=task.ordering_key,
            callback_url=task.callback_url or UNSET,
        )
        event = Event(id=task.id, type=task.type, priority=task.priority, state=State.QUEUED, at=now)
        number, key = partition_of(task.partition_key, self._partitions), task.id.encode()
        stamp, trace = timestamp(now), f"00-{random_hex(16)}-{random_hex(8)}-01".encode()
        step = f"{task.id}.1.{State.QUEUED.value}"
        headers = [*cloud_event("task", f"{task.id}.1", self._source, stamp, trace), MAY_REPEAT]
        told = [cloud_event(kind, step, self._source, stamp, trace) for kind in ("status", "event")]
        return [
            OutgoingRecord(self.lane(schedule), number, task.partition_key.encode(), codec.encode(task), headers),
            OutgoingRecord(self._topics.status, number, key, codec.encode(status), told[0]),
            OutgoingRecord(self._topics.events, number, key, codec.encode(event), told[1]),
        ]

    def progress(self, name: str, progress: ScheduleProgress, now: datetime) -> OutgoingRecord:
        """How far a schedule has come."""
        return self.part(schedule_key(name, FIRED), codec.encode(progress), now)

    def part(self, key: bytes, value: bytes | None, now: datetime) -> OutgoingRecord:
        """A record of a schedule."""
        name = key.decode().partition("/")[0]
        event_id = f"{key.decode()}.{now.isoformat()}"
        headers = cloud_event("schedule", event_id, self._source, timestamp(now))
        return OutgoingRecord(self._topics.schedules, partition_of(name, self._partitions), key, value, headers)
