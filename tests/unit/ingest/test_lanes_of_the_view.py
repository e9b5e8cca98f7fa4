"""The view tells of a lane how long its newest tasks waited for their first run."""

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ingest.view import schema
from ingest.view.lanes import LaneWaits, read_lanes
from ingest.view.store import StatusRecord, ViewStore
from schemas.codec import encode
from schemas.status import State, Status
from schemas.task import Lane, Priority
from tests.support.dashboard import status_of

NOW = datetime.now(UTC)
LANE = Lane("email", Priority.NORMAL)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ViewStore]:
    store = ViewStore(schema.database(tmp_path), "cluster/topic", 1)
    yield store
    store.close()


def waits(store: ViewStore, tmp_path: Path, *statuses: Status) -> LaneWaits | None:
    records = [StatusRecord(0, place, each.id.encode(), encode(each)) for place, each in enumerate(statuses)]
    store.apply("status", records, {0: len(records)})
    with closing(schema.connect(schema.database(tmp_path), read_only=True)) as connection:
        return read_lanes(connection, [LANE])[LANE].waits


def started(number: int, after: float, **said: object) -> Status:
    at = NOW - timedelta(seconds=number)
    fields = {"state": State.SUCCEEDED, "attempt": 1, "created_at": at, "started_at": at + timedelta(seconds=after)}
    return status_of(f"{number:04}", **(fields | said))


def test_half_and_ninety_nine_of_a_hundred(store: ViewStore, tmp_path: Path) -> None:
    found = waits(store, tmp_path, *(started(number, number / 10) for number in range(1, 101)))
    assert found == LaneWaits(5.0, 9.9, 100)


def test_what_runs_counts_and_what_was_run_again_does_not(store: ViewStore, tmp_path: Path) -> None:
    found = waits(
        store,
        tmp_path,
        started(1, 2.0, state=State.RUNNING),
        started(2, 50.0, attempt=2),
        started(3, 50.0, generation=2),
        started(4, 50.0, deferrals=1),
        started(5, 50.0, type="data"),
        started(7_200, 50.0),
        status_of("waits"),
    )
    assert found == LaneWaits(2.0, 2.0, 1)


def test_the_newest_are_looked_at_however_many_there_are(store: ViewStore, tmp_path: Path) -> None:
    old, new = (
        (started(number, 30.0) for number in range(1_000, 2_000)),
        (started(number, 1.0) for number in range(100)),
    )
    assert waits(store, tmp_path, *old, *new) == LaneWaits(1.0, 1.0, 100)


def test_a_lane_without_a_start_has_no_waits(store: ViewStore, tmp_path: Path) -> None:
    assert waits(store, tmp_path, status_of("queued")) is None
