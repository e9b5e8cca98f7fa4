"""What the topic tells of schedules: the furthest counts, garbage changes nothing, and what lags is mended."""

from datetime import UTC, datetime, timedelta

import pytest

from laneway.schedules import ScheduleBook
from schemas import codec
from schemas.errors import UndecodableRecordError
from schemas.schedule import DONE, FIRED, ScheduleDone, ScheduleProgress, schedule_key
from schemas.status import State
from schemas.topics import MAX_RECORD_BYTES
from tests.support.schedules import schedule_of

T0 = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
SCHEDULE = schedule_of(defined_at=T0)


def progress(seconds: int) -> ScheduleProgress:
    at = T0 + timedelta(seconds=seconds)
    return ScheduleProgress(last=at, fired_at=at, task_id=str(seconds))


def done(seconds: int) -> ScheduleDone:
    at = T0 + timedelta(seconds=seconds)
    return ScheduleDone(task_id=str(seconds), fired_at=at, state=State.SUCCEEDED, at=at)


class Log:
    """A book of one partition."""

    def __init__(self) -> None:
        self.book = ScheduleBook(1)

    def add(self, record: object, part: str | None = None) -> None:
        self.book.apply(0, schedule_key("tick", part), None if record is None else codec.encode(record))


@pytest.fixture
def log() -> Log:
    found = Log()
    found.add(SCHEDULE)
    return found


def test_a_definition_replaces_the_former_and_keeps_how_far_it_has_come(log: Log) -> None:
    log.add(progress(5), FIRED)
    later = schedule_of(defined_at=T0 + timedelta(seconds=9), cron="0 0 * * *")
    log.add(later)
    entry = log.book.entries["tick"]
    assert entry.schedule == later
    assert entry.progress == progress(5)
    assert entry.since == later.defined_at


def test_a_tombstone_deletes(log: Log) -> None:
    log.add(None)
    assert log.book.entries == {}


def test_an_older_progress_and_an_older_end_change_nothing_and_are_mended(log: Log) -> None:
    for part, newer, older in ((FIRED, progress(9), progress(8)), (DONE, done(9), done(8))):
        log.add(newer, part)
        log.add(older, part)
    entry = log.book.entries["tick"]
    assert (entry.progress, entry.done) == (progress(9), done(9))
    assert not entry.running
    assert list(log.book.repairs()) == [
        (b"tick/fired", codec.encode(progress(9))),
        (b"tick/done", codec.encode(done(9))),
    ]
    assert list(log.book.repairs()) == []


def test_what_was_mended_already_is_not_mended_again(log: Log) -> None:
    for each in (progress(9), progress(8), progress(9)):
        log.add(each, FIRED)
    assert list(log.book.repairs()) == []


def test_what_remains_of_a_deleted_schedule_is_cleared_away(log: Log) -> None:
    log.add(None)
    log.add(done(1), DONE)
    assert list(log.book.repairs()) == [(b"tick/done", None)]
    log.add(None, DONE)
    assert log.book.entries == {}


def test_a_definition_may_lie_behind_its_parts(log: Log) -> None:
    found = Log()
    found.add(progress(5), FIRED)
    found.add(SCHEDULE)
    assert found.book.entries["tick"].progress == progress(5)
    assert list(found.book.repairs()) == []


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (None, b"{}"),
        (b"", b"{}"),
        (b"\xff", b"{}"),
        (b"a b", codec.encode(SCHEDULE)),
        (b"tick/other", b"{}"),
        (b"tick/fired/x", b"{}"),
        (b"tick", b""),
        (b"tick", b"\xff\x00"),
        (b"tick", b"[1]"),
        (b"tick", b"{}"),
        (b"other", codec.encode(SCHEDULE)),
        (b"tick", codec.encode(schedule_of(cron="nonsense"))),
        (b"tick", codec.encode(schedule_of(timezone="Mars/Olympus"))),
        (b"tick", codec.encode(schedule_of(payload="x" * MAX_RECORD_BYTES))),
        (b"tick/fired", b'{"last": "never"}'),
        (b"tick/fired", b'{"last": "2026-01-01T00:00:00"}'),
        (b"tick/done", b'{"task_id": 5}'),
    ],
)
def test_garbage_is_refused_and_changes_nothing(log: Log, key: bytes | None, value: bytes) -> None:
    with pytest.raises(UndecodableRecordError):
        log.book.apply(0, key, value)
    assert list(log.book.entries) == ["tick"]
    assert log.book.entries["tick"].schedule == SCHEDULE


def test_a_record_in_a_partition_of_others_is_refused() -> None:
    book = ScheduleBook(4)
    refused = 0
    for number in range(4):
        try:
            book.apply(number, b"tick", codec.encode(SCHEDULE))
        except UndecodableRecordError:
            refused += 1
    assert refused == 3
