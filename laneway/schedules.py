"""What the topic ``schedules`` says, as its owners in workers and every API process read it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from laneway.cron import Cron
from laneway.ids import id_for_key
from schemas import codec
from schemas.errors import UndecodableRecordError
from schemas.schedule import (
    DONE,
    FIRED,
    NAME_PATTERN,
    Schedule,
    ScheduleDone,
    ScheduleProgress,
    follows,
    schedule_key,
)
from schemas.topics import MAX_RECORD_BYTES, partition_of

_ROOM: Final = 64 * 1024
"""What the records of a firing may be larger than the definition."""


def firing_id(name: str, at: datetime) -> str:
    """Id of the task that a schedule makes for a time: the same whoever makes it, and however often.

    No idempotency key can be the same: a header has no line breaks.
    """
    return id_for_key(f"schedule\n{name}\n{at.astimezone(UTC).isoformat()}")


@dataclass(slots=True)
class ScheduleEntry:
    """What is known of one schedule."""

    name: str
    schedule: Schedule | None = None
    """``None`` where only remains of a deleted one are left."""
    cron: Cron | None = None
    """Of the definition."""
    progress: ScheduleProgress | None = None
    done: ScheduleDone | None = None
    behind: set[str] = field(default_factory=set)
    """Parts whose latest record in the log is older than what is known."""

    @property
    def since(self) -> datetime | None:
        """No time up to this one fires; ``None`` for a schedule that is deleted or paused."""
        if self.schedule is None or self.schedule.paused:
            return None
        start = self.schedule.defined_at
        return start if self.progress is None else max(start, self.progress.last)

    @property
    def next_at(self) -> datetime | None:
        """The first time that is not handled, past or to come."""
        since = self.since
        return None if since is None or self.cron is None else self.cron.after(since)

    @property
    def running(self) -> bool:
        """Whether the latest task that it made has not ended, as far as is known."""
        fired_at = self.progress.fired_at if self.progress is not None else None
        return fired_at is not None and (self.done is None or self.done.fired_at < fired_at)


class ScheduleBook:
    """Schedules by name, as far as the records that it was given tell.

    Args:
        partitions: how many the topic has.
    """

    def __init__(self, partitions: int) -> None:
        self.entries: dict[str, ScheduleEntry] = {}
        self._partitions = partitions
        self._odd: set[str] = set()

    def apply(self, partition: int, key: bytes | None, value: bytes | None) -> ScheduleEntry:
        """Take the next record of a partition; answers what it is about.

        Raises:
            UndecodableRecordError: it is none of ours; nothing has changed.
        """
        name, part = self._parsed(partition, key)
        entry = self.entries.get(name) or ScheduleEntry(name)
        if part == "":
            self._define(entry, value)
        elif part == FIRED:
            progress = None if value is None else codec.decode(value, ScheduleProgress)
            if self._newest(entry, part, progress, entry.progress):
                entry.progress = progress
        else:
            done = None if value is None else codec.decode(value, ScheduleDone)
            if self._newest(entry, part, done, entry.done):
                entry.done = done
        if entry.schedule is None and entry.progress is None and entry.done is None:
            self.entries.pop(name, None)
        else:
            self.entries[name] = entry
        return entry

    def repairs(self) -> Iterator[tuple[bytes, bytes | None]]:
        """Records to append so that the log says what is known: keys with their values, remains with ``None``."""
        names, self._odd = self._odd, set()
        for name in names:
            entry = self.entries.get(name)
            for part, record in () if entry is None else ((FIRED, entry.progress), (DONE, entry.done)):
                if entry is None or record is None:
                    continue
                if entry.schedule is None:
                    yield schedule_key(name, part), None
                elif part in entry.behind:
                    yield schedule_key(name, part), codec.encode(record)

    def _parsed(self, partition: int, key: bytes | None) -> tuple[str, str]:
        try:
            name, _, part = (key or b"").decode().partition("/")
        except UnicodeDecodeError as error:
            raise UndecodableRecordError(f"the key is not UTF-8: {error.reason}") from error
        if not re.fullmatch(NAME_PATTERN, name) or part not in ("", FIRED, DONE):
            raise UndecodableRecordError(f"the key {key!r} is no name of a schedule, nor a part of one")
        if partition_of(name, self._partitions) != partition:
            raise UndecodableRecordError(f"{name!r} does not belong to this partition")
        return name, part

    @staticmethod
    def _define(entry: ScheduleEntry, value: bytes | None) -> None:
        if value is None:
            entry.schedule = entry.cron = None
            return
        if len(value) > MAX_RECORD_BYTES - _ROOM:
            raise UndecodableRecordError(f"{len(value)} bytes are too many: its tasks would not fit a record")
        schedule = codec.decode(value, Schedule)
        if schedule.name != entry.name:
            raise UndecodableRecordError(f"the definition of {schedule.name!r} under the key of another")
        try:
            entry.cron = Cron(schedule.cron, schedule.timezone)
        except ValueError as error:
            raise UndecodableRecordError(str(error)) from error
        entry.schedule = schedule

    def _newest(
        self,
        entry: ScheduleEntry,
        part: str,
        new: ScheduleProgress | ScheduleDone | None,
        known: ScheduleProgress | ScheduleDone | None,
    ) -> bool:
        """Whether ``new`` counts; what is odd about it is noted."""
        if new is not None and not follows(new, known):
            entry.behind.add(part)
            self._odd.add(entry.name)
            return False
        entry.behind.discard(part)
        if new is not None and entry.schedule is None:
            self._odd.add(entry.name)
        return True
