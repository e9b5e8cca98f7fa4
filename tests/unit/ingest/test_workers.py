"""A worker is alive as long as it was heard of lately, and stuck when its slots are full and nothing ends."""

from datetime import UTC, datetime, timedelta
from typing import Any

from ingest.workers import _judged, lanes_of
from schemas.task import Lane, Priority
from schemas.worker import SILENT_AFTER, STUCK_AFTER, LaneShare, TypeSlots, WorkerReport

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)


def report(*, busy: int = 0, **changes: Any) -> WorkerReport:
    fields: dict[str, Any] = {
        "worker": "host-1-42",
        "host": "host",
        "pid": 42,
        "version": "1",
        "started_at": NOW - timedelta(hours=1),
        "at": NOW,
        "lanes": [],
        "slots": [TypeSlots(type="a", total=4, busy=0), TypeSlots(type="b", total=4, busy=busy)],
        "running": [],
        "running_total": busy,
        "waiting": 0,
        "ended": 7,
        "last_end_at": NOW,
    }
    return WorkerReport(**fields | changes)


def test_silence_is_told() -> None:
    assert _judged(report(), NOW + SILENT_AFTER).alive
    assert not _judged(report(), NOW + SILENT_AFTER + timedelta(seconds=1)).alive


def test_full_slots_in_which_nothing_ends_are_stuck() -> None:
    long_ago = NOW - STUCK_AFTER
    assert _judged(report(busy=4, last_end_at=long_ago), NOW).stuck
    assert _judged(report(busy=4, last_end_at=None, ended=0), NOW).stuck
    assert not _judged(report(busy=3, last_end_at=long_ago), NOW).stuck
    assert not _judged(report(busy=4, last_end_at=long_ago + timedelta(seconds=1)), NOW).stuck
    assert not _judged(report(busy=4, last_end_at=long_ago), NOW + SILENT_AFTER * 2).stuck


def test_a_lane_has_the_workers_that_live_and_hold_partitions_of_it() -> None:
    shares = [
        LaneShare(type="a", priority=Priority.HIGH, partitions=[0, 2]),
        LaneShare(type="a", priority=Priority.LOW, partitions=[]),
    ]
    now = NOW + SILENT_AFTER
    found = lanes_of(
        [
            _judged(report(worker="one", lanes=shares), now),
            _judged(report(worker="two", lanes=shares[:1]), now),
            _judged(report(worker="silent", lanes=shares, at=NOW - timedelta(seconds=1)), now),
        ]
    )
    assert found == {Lane("a", Priority.HIGH): ["one", "two"]}
