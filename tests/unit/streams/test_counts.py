"""What a worker counts, and that a death takes none of it."""

import os
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

from laneway.measures import MICROSECONDS
from schemas import metrics
from schemas.metrics import DEAD_LETTER_REASONS, DEFERRED, FAILED, Metric
from schemas.retry import DeadLetter
from schemas.status import State
from schemas.task import Lane, Priority
from streams.counts import Counts
from streams.tally import Tally, read_tally
from tests.support.source_tree import ROOT
from tests.support.works import NOW, work

LANE = Lane("ore", Priority.HIGH)
SOON, LATER = timedelta(seconds=1), timedelta(hours=1)


def counted(path: Path, do: Callable[[Counts], object]) -> dict[str, tuple[int, ...]]:
    """By name and labels, what is not zero after ``do``."""
    do(Counts([LANE], path, clock=lambda: NOW + timedelta(seconds=3)))
    return {" ".join((name, *labels)): values for (name, labels), values in read_tally(path).items() if any(values)}


@pytest.mark.parametrize("state", [State.SUCCEEDED, State.CANCELLED, State.EXPIRED])
def test_an_end_counts_by_its_outcome(tmp_path: Path, state: State) -> None:
    found = counted(tmp_path / "t", lambda counts: counts.over(work(LANE, end=state)))
    assert found.pop(f"laneway_tasks_ended_total ore high {state.value}") == (1,)
    assert found.keys() == {"laneway_task_total_seconds ore high"}


@pytest.mark.parametrize("reason", DEAD_LETTER_REASONS)
def test_a_dead_letter_counts_by_its_reason_too(tmp_path: Path, reason: str) -> None:
    ended = work(LANE, end=State.DEAD_LETTERED, why=reason)
    found = counted(tmp_path / "t", lambda counts: counts.over(ended))
    assert found["laneway_tasks_ended_total ore high dead_lettered"] == (1,)
    assert found[f"laneway_dead_letters_total ore {reason}"] == (1,)


def test_every_reason_of_a_verdict_is_one_of_the_catalogue() -> None:
    assert set(get_args(get_type_hints(DeadLetter)["reason"])) <= set(DEAD_LETTER_REASONS)


@pytest.mark.parametrize("reason", [FAILED, DEFERRED])
def test_another_run_is_a_retry_and_no_end(tmp_path: Path, reason: str) -> None:
    found = counted(tmp_path / "t", lambda counts: counts.over(work(LANE, end=State.RETRYING, why=reason)))
    assert found == {f"laneway_task_retries_total ore high {reason}": (1,)}


def test_what_others_had_told_counts_for_them(tmp_path: Path) -> None:
    repaired = work(LANE)
    repaired.end = None
    assert not counted(tmp_path / "t", lambda counts: counts.over(repaired))


@pytest.mark.parametrize(
    ("fields", "waited"),
    [
        ({}, 2.0),
        ({"run_at": NOW + SOON}, 1.0),
        ({"run_at": NOW - LATER}, 2.0),  # it was late when it was accepted
        ({"created_at": NOW - LATER, "generation": 2}, 2.0),  # replayed: nobody waited for it for an hour
    ],
)
def test_a_wait_begins_when_the_run_could_have_begun(tmp_path: Path, fields: dict[str, Any], waited: float) -> None:
    found = counted(tmp_path / "t", lambda counts: counts.started(work(LANE, **fields)))
    assert found["laneway_task_wait_seconds ore high"][-1] == waited * MICROSECONDS


def test_a_value_counts_in_the_first_bucket_that_holds_it(tmp_path: Path) -> None:
    def observe(counts: Counts) -> None:
        for seconds in (-1.0, 0.001, 0.0011, 4.0, 99.0):
            counts.delay.observe(seconds)

    *buckets, total = counted(tmp_path / "t", observe)["laneway_worker_loop_delay_seconds"]
    bounds = [*metrics.WORKER_DELAY.buckets, float("inf")]
    assert {bound: count for bound, count in zip(bounds, buckets, strict=True) if count} == {
        0.001: 2,
        0.005: 1,
        5.0: 1,
        float("inf"): 1,
    }
    assert total == 103_002_100


def test_a_kill_takes_no_count(tmp_path: Path) -> None:
    path = tmp_path / "t"
    script = (
        "import os, signal, sys; from pathlib import Path; from streams.counts import Counts;"
        "from schemas.task import Lane, Priority; counts = Counts([Lane('ore', Priority.HIGH)], Path(sys.argv[1]));"
        "[counts.set_aside(Lane('ore', Priority.HIGH), 'undecodable') for _ in range(1000)];"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    died = subprocess.run([sys.executable, "-c", script, path], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert died.returncode == -9
    assert read_tally(path)["laneway_dead_letters_total", ("ore", "undecodable")] == (1000,)


def test_a_file_says_itself_what_lies_where(tmp_path: Path) -> None:
    """A supervisor that has not been upgraded yet finds what it knows, wherever a newer process put it."""
    newer = Metric("laneway_of_tomorrow", "histogram", ("type",), "", "", (1.0, 2.0))
    tally = Tally([(newer, ("ore",)), (metrics.SLOTS, ("ore",))], tmp_path / "t")
    tally.cells[tally.at(metrics.SLOTS, "ore")] = 7
    assert read_tally(tmp_path / "t") == {
        ("laneway_of_tomorrow", ("ore",)): (0, 0, 0, 0),
        ("laneway_slots", ("ore",)): (7,),
    }


def test_the_file_of_another_process_is_not_read(tmp_path: Path) -> None:
    Tally([(metrics.SLOTS, ("ore",))], tmp_path / "t")
    assert read_tally(tmp_path / "t", os.getpid())
    assert not read_tally(tmp_path / "t", os.getpid() + 1)
    assert not read_tally(tmp_path / "none")
    (tmp_path / "other").write_bytes(b"something else entirely")
    assert not read_tally(tmp_path / "other")
