"""What is past the retention leaves the view step by step; its room is used again, and the log beside it is cut."""

from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from ingest.view import store
from ingest.view.schema import RETENTION_DAYS, connect
from ingest.view.store import PRUNE_STEP
from schemas.status import State
from tests.support.views import NOW, View, status

A_GENERATION = timedelta(days=RETENTION_DAYS + 1)
TASKS = 3_000


def test_the_file_is_stable_over_generations_of_tasks(tmp_path: Path) -> None:
    view = View(tmp_path)
    sizes = []
    for generation in range(6):
        at = NOW + generation * A_GENERATION
        view.apply(
            *(
                status(
                    f"{generation}-{place}",
                    State.SUCCEEDED,
                    created_at=at + timedelta(milliseconds=place),
                    updated_at=at,
                    labels={"tenant": str(place % 50)},
                )
                for place in range(TASKS)
            )
        )
        while view.store.prune(at + timedelta(seconds=1)):
            pass
        assert view.ask("SELECT count(*) FROM tasks") == view.ask("SELECT count(*) FROM labels") == [(TASKS,)]
        sizes.append(_pages(view))
    # The second stands beside the first for a moment, and so it is for ever after.
    assert max(sizes[2:]) <= sizes[1] * 1.05, sizes


def test_a_step_is_bounded_and_passes_over_what_is_not_over(tmp_path: Path) -> None:
    view = View(tmp_path)
    waiting, over = 2 * PRUNE_STEP + 7, PRUNE_STEP
    view.apply(*(status(f"w{place}", created_at=NOW + timedelta(milliseconds=place)) for place in range(waiting)))
    later = NOW + timedelta(minutes=1)
    view.apply(*(status(f"x{place}", State.DEAD_LETTERED, created_at=later, updated_at=later) for place in range(over)))
    then = NOW + A_GENERATION
    left = []
    while True:
        goes_on = view.store.prune(then)
        left.append(view.ask("SELECT count(*) FROM tasks")[0][0])
        if not goes_on:
            break
    # Two steps over those that wait, then what is over goes, never more than a step's worth at once.
    assert left == [waiting + over, waiting + over, waiting + 7, waiting]
    assert set(view.all()) == {f"w{place}" for place in range(waiting)}
    # The next round finds what has ended since at the oldest end.
    view.apply(status("w0", State.CANCELLED))
    while view.store.prune(then):
        pass
    assert "w0" not in view.all()


def test_a_reader_that_does_not_end_costs_one_wait_each_time_the_log_has_doubled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "WAL_LIMIT", 100_000)
    monkeypatch.setattr(store, "_READERS_MS", 1)
    view = View(tmp_path)
    view.apply(status())
    wal = view.path.with_name("status.db-wal")
    with closing(connect(view.path, read_only=True)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM tasks").fetchone()
        view.apply(*(status(f"a{place}") for place in range(2_000)))
        view.store.bound_log()
        assert wal.stat().st_size > 100_000
        assert view.store.next_bound == 2 * wal.stat().st_size
    view.store.bound_log()  # not yet twice as large
    assert wal.stat().st_size > 100_000
    view.store.next_bound = wal.stat().st_size
    view.store.bound_log()
    assert (wal.stat().st_size, view.store.next_bound) == (0, 100_000)


def _pages(view: View) -> int:
    return int(str(view.ask("PRAGMA page_count")[0][0]))
