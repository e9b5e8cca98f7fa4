"""Schedules made up for tests, and what they fire for."""

from datetime import UTC, datetime
from typing import Any

from msgspec import Raw

from laneway.cron import Cron
from laneway.schedules import ScheduleEntry, firing_id
from schemas import codec
from schemas.schedule import Schedule, TaskTemplate, schedule_key
from schemas.settings import Settings
from schemas.topics import Topics, partition_of
from tests.support.kafka import produce_raw, read_all


def schedule_of(name: str = "tick", cron: str = "* * * * * *", **fields: Any) -> Schedule:
    """A schedule of the type `test.echo`, as the API writes it."""
    template = TaskTemplate(type=fields.pop("type", "test.echo"), payload=Raw(codec.encode(fields.pop("payload", {}))))
    given = {"defined_at": datetime.now(UTC), "max_attempts": 3, **fields}
    return Schedule(name=name, cron=cron, task=template, **given)


def entry_of(schedule: Schedule, **known: Any) -> ScheduleEntry:
    """What a book tells of a schedule."""
    return ScheduleEntry(schedule.name, schedule, Cron(schedule.cron, schedule.timezone), **known)


def define(settings: Settings, *schedules: Schedule) -> None:
    """Put schedules onto the topic."""
    for schedule in schedules:
        put(settings, schedule.name, codec.encode(schedule))


def put(settings: Settings, name: str, value: bytes | None, part: str | None = None) -> None:
    """Put a record of a schedule onto the topic."""
    topic = Topics(settings.kafka.topic_prefix).schedules
    number = partition_of(name, settings.kafka.partitions)
    produce_raw(settings.bootstrap_servers, topic, [value], key=schedule_key(name, part), partition=number)


def latest(settings: Settings, name: str, part: str | None = None) -> bytes | None:
    """What the topic says last under a key of a schedule."""
    topic = Topics(settings.kafka.topic_prefix).schedules
    found = [
        record.value for record in read_all(settings.bootstrap_servers, topic) if record.key == schedule_key(name, part)
    ]
    return found[-1] if found else None


def expected_ids(schedule: Schedule, until: datetime) -> dict[str, datetime]:
    """The times of a schedule from its definition to ``until``, by the ids of their tasks."""
    found: dict[str, datetime] = {}
    for at in Cron(schedule.cron, schedule.timezone).times(schedule.defined_at):
        if at > until:
            break
        found[firing_id(schedule.name, at)] = at
    return found
