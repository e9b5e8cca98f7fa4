"""The judge is not blind: a clean history passes, and each kind of damage is seen."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.status import State
from tests.support.chaos.accepted import AcceptedLedger
from tests.support.chaos.faults import FaultLog
from tests.support.chaos.judge import Evidence, judge
from tests.support.chaos.observer import Seen, Told
from tests.support.chaos.offsets import Sample
from tests.support.chaos.runs import Mark, Run

PREFIX = "t."
LANE = "chaos.work.normal"


class History:
    """A history that is clean until a test spoils it: two tasks of one key, one after the other."""

    def __init__(self, folder: Path) -> None:
        self.accepted = AcceptedLedger(folder / "accepted")
        self.runs: list[Run] = []
        self.seen = Seen()
        self.samples: list[Sample] = []
        self.faults = FaultLog()
        for number, begun in ((0, 100.0), (1, 102.0)):
            submission = self.accepted.asked(ordering_key="k", idempotency_key=f"i{number}")
            self.accepted.promised(submission, f"task{number}")
            self.run("start", number, begun)
            self.run("end", number, begun + 1)
            self.tell(number, State.SUCCEEDED, begun + 1.1)
            self.seen.lanes[LANE, 0][number] = (f"task{number}", 1, 1, 0)
        self.sample(0, 101.0)
        self.sample(2, 104.0)

    def run(self, mark: Mark, number: int, at: float, *, attempt: int = 1, pid: int = 7, worker: int = 7) -> None:
        self.runs.append(Run(mark, f"task{number}", 1, attempt, pid, at, number, worker))

    def tell(self, number: int, state: State, at: float, *, outcome: bool = True) -> None:
        told = Told(state, 1, 1, 0, at, "w")
        self.seen.statuses[f"task{number}"].append(told)
        if outcome:
            self.seen.outcomes[f"task{number}"].append(told)

    def sample(self, committed: int, at: float) -> None:
        self.samples.append(Sample(LANE, 0, committed, 2, at, stable=True))

    def found(self) -> set[str]:
        evidence = Evidence(self.accepted, self.runs, self.seen, self.samples, self.faults, PREFIX)
        return {violation.invariant for violation in judge(evidence).violations}


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    history = History(tmp_path)
    yield history
    history.accepted.close()


def test_a_clean_history_passes(history: History) -> None:
    assert history.found() == set()


def test_a_task_without_an_end_is_lost(history: History) -> None:
    history.seen.statuses.clear()
    assert "I1" in history.found()


def test_two_different_ends_are_seen(history: History) -> None:
    history.tell(0, State.DEAD_LETTERED, 105.0)
    assert history.found() == {"I1"}


def test_a_repeated_outcome_alone_is_none(history: History) -> None:
    history.seen.outcomes["task0"] *= 2
    assert history.found() == set()


def test_a_run_that_nobody_asked_for_is_seen(history: History) -> None:
    history.runs.append(Run("start", "stranger", 1, 1, 7, 90.0, 99, 7))
    assert history.found() == {"I2"}


def test_two_tasks_of_one_idempotency_key_are_seen(history: History) -> None:
    history.seen.numbers["another"] = 0
    assert history.found() == {"I2"}


def test_a_start_after_the_end_is_seen_whoever_died(history: History) -> None:
    history.faults.died("worker_sigkill", 7, 103.0)
    history.run("start", 0, 108.0, pid=8)
    assert "I3" in history.found()


def test_a_second_start_needs_a_death(history: History) -> None:
    history.run("start", 1, 102.5, pid=8)
    assert history.found() == {"I3"}
    history.faults.died("worker_sigkill", 7, 102.3)
    assert history.found() == set()


def test_a_handler_process_dies_with_its_worker(history: History) -> None:
    history.faults.died("worker_sigkill", 7, 102.3)
    history.run("start", 1, 102.5, pid=8, worker=6)
    history.faults.died("worker_sigkill", 6, 102.6)
    history.run("start", 1, 102.8, pid=9, worker=9)
    assert history.found() == set()
    history.run("start", 1, 102.9, pid=10, worker=10)
    assert history.found() == {"I3"}


def test_an_attempt_too_many_is_seen(history: History) -> None:
    history.run("start", 1, 102.9, attempt=4)
    assert history.found() == {"I4"}


def test_a_status_that_leaves_its_final_state_is_seen(history: History) -> None:
    history.tell(0, State.RUNNING, 106.0, outcome=False)
    assert history.found() == {"I5"}


def test_a_commit_over_an_open_record_is_seen(history: History) -> None:
    history.sample(2, 102.5)
    assert history.found() == {"I6"}


def test_a_standstill_is_seen_unless_a_fault_was_on(history: History) -> None:
    history.samples = []
    history.sample(1, 104.0)
    history.sample(1, 170.0)
    assert history.found() == {"I7"}
    history.faults.died("broker_sigkill", 0, 110.0).healed = 150.0
    assert history.found() == set()


def test_overlapping_runs_of_one_key_are_seen(history: History) -> None:
    history.runs = [run for run in history.runs if run.number == 0]
    history.run("start", 1, 100.5)
    history.run("end", 1, 103.0)
    assert history.found() == {"I8"}
