"""The scenarios: each is a claim, and holds on every system."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, Unpack

import msgspec
import pytest

from schemas.control import Cancelled
from schemas.errors import IdempotencyConflictError, InvalidTaskError, TypeNotFoundError
from schemas.status import State, Status
from schemas.submission import SubmitOptions
from tests.support.semantics.systems import System

Scenario = Callable[[System, Path], None]
SCENARIOS: Final[list[Scenario]] = []
SLOTS: Final = 2
"""Of each type, on every system: one that any task gets, and one for `high` alone."""


def scenario(function: Scenario) -> Scenario:
    """Have the suites run it."""
    SCENARIOS.append(function)
    return function


def do(system: System, way: str, payload: dict[str, Any], **options: Unpack[SubmitOptions]) -> Status:
    return system.submit("semantics.async", {"do": way, **payload}, **options)


def steps(system: System, task: Status) -> list[tuple[State, int]]:
    """State and attempt of each event, without those that a quick task may not live to see."""
    return [(event.state, event.attempt) for event in system.events(task) if event.state is not State.RUNNING]


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


@scenario
def a_task_succeeds_with_its_result(system: System, path: Path) -> None:
    task = do(system, "echo", {"a": [1, None]}, priority="high", labels={"tenant": "acme"})
    assert (task.state, task.attempt, task.max_attempts) == (State.QUEUED, 0, 3)
    ended = system.final(task.id)
    expected = {"payload": {"do": "echo", "a": [1, None]}, "labels": {"tenant": "acme"}, "key": f"{task.id}.1"}
    assert msgspec.json.decode(ended.result) == expected
    assert (ended.state, ended.attempt, ended.error, ended.labels) == (State.SUCCEEDED, 1, None, {"tenant": "acme"})
    assert ended.started_at is not None
    assert ended.finished_at is not None
    assert ended.created_at <= ended.started_at <= ended.finished_at
    (outcome,) = system.outcomes(ended)
    assert outcome.value == expected
    assert (outcome.state, outcome.priority, outcome.labels) == (State.SUCCEEDED, "high", {"tenant": "acme"})
    assert steps(system, ended) == [(State.QUEUED, 0), (State.SUCCEEDED, 1)]
    assert not system.dead_letters(ended)


@scenario
def a_model_travels_as_payload_and_as_result(system: System, path: Path) -> None:
    ended = system.final(system.submit("semantics.thread", {"do": "nothing"}).id)
    assert msgspec.json.decode(ended.result) == {"do": "nothing", "to": "ada", "path": None}


@scenario
def a_failed_attempt_is_tried_again_and_its_error_kept(system: System, path: Path) -> None:
    task = do(system, "flaky", {"ok_at": 3, "path": str(path)})
    ended = system.final(task.id)
    assert (ended.state, ended.attempt, ended.deferrals) == (State.SUCCEEDED, 3, 0)
    assert msgspec.json.decode(ended.result) == {"attempt": 3, "max_attempts": 3}
    assert [(error.type, error.message, error.attempt) for error in ended.errors] == [
        ("ValueError", "not yet: attempt 1", 1),
        ("ValueError", "not yet: attempt 2", 2),
    ]
    assert steps(system, ended) == [
        (State.QUEUED, 0),
        (State.RETRYING, 1),
        (State.RETRYING, 2),
        (State.SUCCEEDED, 3),
    ]
    failed = [event for event in system.events(ended) if event.state is State.RETRYING]
    assert all("in _flaky" in (event.traceback or "") for event in failed)
    waits = [event.not_before - event.at for event in failed if event.not_before is not None]
    assert [round(wait.total_seconds(), 1) for wait in waits] == [0.2, 0.4]
    assert lines(path) == [f"{task.id}.1"] * 3


@scenario
def a_task_whose_attempts_are_spent_is_a_dead_letter_with_its_bytes(system: System, path: Path) -> None:
    payload = {"ok_at": 9, "umlaut": "ä", "float": 1.50}
    ended = system.final(do(system, "flaky", payload, max_attempts=2, labels={"a": "b"}).id)
    assert (ended.state, ended.attempt, ended.max_attempts) == (State.DEAD_LETTERED, 2, 2)
    assert ended.error is not None
    assert (ended.error.type, ended.error.attempt, ended.error.retriable) == ("ValueError", 2, True)
    (letter,) = system.dead_letters(ended)
    assert (letter.reason, letter.attempt, letter.error.message) == ("exhausted", 2, "not yet: attempt 2")
    assert [error.attempt for error in letter.errors] == [1, 2]
    assert letter.payload == {"do": "flaky", **payload}
    assert b'"umlaut":"\xc3\xa4"' in letter.value
    assert (letter.task.id, letter.task.labels, letter.task.created_at) == (ended.id, {"a": "b"}, ended.created_at)
    (outcome,) = system.outcomes(ended)
    assert outcome.error == ended.error
    assert steps(system, ended)[-1] == (State.DEAD_LETTERED, 2)


@scenario
def what_can_never_succeed_is_tried_once(system: System, path: Path) -> None:
    for way, reason, error, traced in (
        ("reject", "rejected", "Reject", False),
        ("never", "not_retriable", "KeyError", True),
        ("object", "rejected", "ResultError", False),
    ):
        ended = system.final(do(system, way, {}).id)
        assert (ended.state, ended.attempt) == (State.DEAD_LETTERED, 1)
        (letter,) = system.dead_letters(ended)
        assert (letter.reason, letter.error.type, letter.error.retriable) == (reason, error, False)
        assert (system.events(ended)[-1].traceback is not None) == traced


@scenario
def asking_for_a_later_run_spends_no_attempt(system: System, path: Path) -> None:
    ended = system.final(do(system, "defer", {"times": 2}, max_attempts=1).id)
    assert (ended.state, ended.attempt, ended.max_attempts, ended.deferrals) == (State.SUCCEEDED, 1, 1, 2)
    assert ended.errors == ()
    asked = [event for event in system.events(ended) if event.state is State.RETRYING]
    assert [event.deferrals for event in asked] == [0, 1]
    assert [event.error and event.error.message for event in asked] == ["not open yet (in 0.3 s)"] * 2
    assert ended.started_at is not None
    assert ended.started_at - ended.created_at >= timedelta(seconds=0.6)


@scenario
def a_delayed_task_never_starts_early(system: System, path: Path) -> None:
    waiting = [
        (do(system, "echo", {}, delay=timedelta(seconds=1.3)), timedelta(seconds=1.3)),
        (do(system, "echo", {}, delay=timedelta(seconds=0.2)), timedelta(seconds=0.2)),
        (do(system, "echo", {}, run_at=system.now + timedelta(seconds=0.9)), None),
    ]
    for task, delay in waiting:
        assert task.state is State.SCHEDULED
        assert task.not_before is not None
        if delay is not None:
            assert task.not_before == task.created_at + delay
        ended = system.final(task.id)
        assert ended.state is State.SUCCEEDED
        assert ended.started_at is not None
        assert ended.started_at >= task.not_before


@scenario
def a_task_that_has_not_started_in_time_expires(system: System, path: Path) -> None:
    late = do(system, "echo", {}, delay=1.0, expires_at=system.now + timedelta(seconds=0.5))
    in_time = do(system, "echo", {}, delay=0.1, expires_at=system.now + timedelta(seconds=30))
    ended = system.final(late.id)
    assert (ended.state, ended.attempt, ended.started_at) == (State.EXPIRED, 1, None)
    (outcome,) = system.outcomes(ended)
    assert (outcome.state, outcome.error) == (State.EXPIRED, None)
    assert system.final(in_time.id).state is State.SUCCEEDED


@scenario
def tasks_of_one_key_run_in_their_order_though_one_is_tried_again(system: System, path: Path) -> None:
    def submit(number: int, **options: Unpack[SubmitOptions]) -> Status:
        payload = {"number": number, "stumbles": 2 if number == 1 else 0, "path": str(path)}
        return do(system, "stumble", payload, **options)

    keyed = [submit(number, ordering_key="customer 7") for number in range(4)]
    other = submit(9)
    assert system.final(other.id).state is State.SUCCEEDED
    ended = [system.final(task.id) for task in keyed]
    assert [(each.state, each.attempt) for each in ended] == [
        (State.SUCCEEDED, 1),
        (State.SUCCEEDED, 3),
        (State.SUCCEEDED, 1),
        (State.SUCCEEDED, 1),
    ]
    own = [line for line in lines(path) if not line.endswith("9")]
    stumbled = ["start 1", "stumble 1"] * 2
    assert own == ["start 0", "end 0", *stumbled, "start 1", "end 1", "start 2", "end 2", "start 3", "end 3"]
    assert lines(path).index("end 9") < lines(path).index("end 1")


@scenario
def what_the_contract_refuses_is_refused(system: System, path: Path) -> None:
    with pytest.raises(InvalidTaskError, match="/payload/do") as refused:
        system.submit("semantics.thread", {"to": "ada"})
    assert refused.value.extensions["violations"] == [{"at": "/payload/do", "why": "Field required"}]
    with pytest.raises(TypeNotFoundError, match="did you mean"):
        system.submit("semantics.asink", {})
    with pytest.raises(InvalidTaskError, match="delay or run_at, not both"):
        do(system, "echo", {}, delay=1, run_at=system.now)
    for options in ({"max_attempts": 0}, {"timeout": -1.0}, {"priority": "urgent"}, {"labels": {"": "x"}}):
        with pytest.raises(InvalidTaskError):
            do(system, "echo", {}, **options)


@scenario
def a_key_names_one_task(system: System, path: Path) -> None:
    key = f"order-{path}"
    first = do(system, "echo", {"a": 1, "b": 2}, idempotency_key=key)
    again = do(system, "echo", {"b": 2, "a": 1}, idempotency_key=key)
    assert again.id == first.id
    ended = system.final(first.id)
    assert do(system, "echo", {"a": 1, "b": 2}, idempotency_key=key).state is State.SUCCEEDED
    with pytest.raises(IdempotencyConflictError):
        do(system, "echo", {"a": 1, "b": 3}, idempotency_key=key)
    assert len(system.outcomes(ended)) == 1


@scenario
def an_async_handler_is_cancelled_at_its_time_out(system: System, path: Path) -> None:
    timed_out(system, do(system, "endless", {"path": str(path)}, timeout=0.3, max_attempts=1))
    assert lines(path) == ["cancelled"]


@scenario
def a_def_handler_is_told_of_its_time_out(system: System, path: Path) -> None:
    payload = {"do": "work", "path": str(path)}
    timed_out(system, system.submit("semantics.thread", payload, timeout=timedelta(seconds=0.3)))
    system.final(do(system, "sleep", {"number": 0, "seconds": 0.5}).id)
    assert lines(path) == ["work"]


@scenario
def a_handler_in_a_process_is_ended_at_its_time_out(system: System, path: Path) -> None:
    quick = system.submit("semantics.process", {"seconds": 0})
    assert msgspec.json.decode(system.final(quick.id).result) == f"{quick.id}.1"
    timed_out(system, system.submit("semantics.process", {"seconds": 3600}, timeout=0.3))


def timed_out(system: System, task: Status) -> None:
    ended = system.final(task.id)
    assert (ended.state, ended.attempt) == (State.DEAD_LETTERED, 1)
    (letter,) = system.dead_letters(ended)
    assert letter.reason == "exhausted"
    assert (letter.error.type, letter.error.message) == (
        "TaskTimeoutError",
        "the attempt ran longer than its time-out of 0.3 s",
    )
    assert ended.started_at is not None
    assert ended.finished_at is not None
    assert ended.finished_at - ended.started_at >= timedelta(seconds=0.3)


@scenario
def progress_is_told_while_it_runs(system: System, path: Path) -> None:
    ended = system.final(do(system, "report", {}).id)
    told = [event.progress for event in system.events(ended) if event.state is State.RUNNING]
    assert [(each.percent, each.message) for each in told if each is not None] == [(50, "half")]


@scenario
def a_task_can_be_called_off_until_it_has_ended(system: System, path: Path) -> None:
    waiting = do(system, "echo", {}, delay=20)
    assert system.cancel(waiting.id) == Cancelled.BEFORE_START
    ended = system.final(waiting.id)
    assert (ended.state, ended.attempt, ended.started_at) == (State.CANCELLED, 0, None)
    # Its record comes up when it is due, and is told as cancelled once more: as the same, which readers drop.
    assert {outcome.state for outcome in system.outcomes(ended)} == {State.CANCELLED}
    running = do(system, "endless", {"path": str(path)})
    system.begun(running.id)
    assert system.cancel(running.id) == Cancelled.WHILE_RUNNING
    ended = system.final(running.id)
    assert (ended.state, ended.attempt) == (State.CANCELLED, 1)
    assert (ended.error and ended.error.type) == "TaskCancelledError"
    assert lines(path) == ["cancelled"]
    # A handler that looks ends by itself, before the grace is over.
    looking = system.submit("semantics.thread", {"do": "work"})
    system.begun(looking.id)
    assert system.cancel(looking.id) == Cancelled.WHILE_RUNNING
    assert system.final(looking.id).state is State.CANCELLED
    done = do(system, "echo", {})
    system.final(done.id)
    assert system.cancel(done.id) == Cancelled.TOO_LATE
    assert steps(system, ended)[-1] == (State.CANCELLED, 1)


@scenario
def what_waits_for_a_slot_can_expire_and_be_called_off(system: System, path: Path) -> None:
    def submit(do: str, **options: Unpack[SubmitOptions]) -> Status:
        return system.submit("semantics.thread", {"do": do, "path": str(path)}, **options)

    works = submit("work")
    system.begun(works.id)
    late = submit("late", expires_at=system.now + timedelta(seconds=0.4))
    unwanted, wanted = submit("unwanted"), submit("wanted")
    assert system.cancel(unwanted.id) == Cancelled.BEFORE_START
    system.wait(0.5)
    assert system.cancel(works.id) == Cancelled.WHILE_RUNNING
    ended = [system.final(each.id) for each in (works, late, unwanted, wanted)]
    assert [each.state for each in ended] == [State.CANCELLED, State.EXPIRED, State.CANCELLED, State.SUCCEEDED]
    assert [each.started_at is not None for each in ended] == [True, False, False, True]
    assert lines(path) == ["work", "wanted"]


@scenario
def nothing_of_a_held_lane_starts(system: System, path: Path) -> None:
    def submit(number: int, priority: str) -> Status:
        return do(system, "sleep", {"number": number, "seconds": 0, "path": str(path)}, priority=priority)

    system.pause("semantics.async", "low")
    held, flows = submit(1, "low"), submit(2, "normal")
    assert system.final(flows.id).state is State.SUCCEEDED
    system.wait(0.5)
    assert lines(path) == ["start 2"]
    system.resume("semantics.async", "low")
    assert system.final(held.id).state is State.SUCCEEDED


@scenario
def a_paused_key_waits_and_others_flow_on(system: System, path: Path) -> None:
    def submit(number: int, key: str, pauses: int = 0) -> Status:
        payload = {"number": number, "pauses": pauses, "path": str(path)}
        return do(system, "pause_key", payload, ordering_key=f"{key} {path}")

    first, second, other = submit(1, "a", pauses=1), submit(2, "a"), submit(3, "b")
    ended = [system.final(each.id) for each in (first, second, other)]
    assert [(each.state, each.attempt, each.deferrals) for each in ended] == [
        (State.SUCCEEDED, 1, 1),
        (State.SUCCEEDED, 1, 0),
        (State.SUCCEEDED, 1, 0),
    ]
    noted = lines(path)
    assert [line for line in noted if line[-1] in "12"] == ["pause 1", "end 1", "end 2"]
    assert noted.index("end 3") < noted.index("end 1")


@scenario
def high_goes_before_low_where_slots_are_scarce(system: System, path: Path) -> None:
    def submit(number: int, priority: str, seconds: float) -> Status:
        return do(system, "sleep", {"number": number, "seconds": seconds, "path": str(path)}, priority=priority)

    # The first takes the one slot that is for all; what comes while it runs goes by priority.
    first = submit(0, "low", 2.0)
    system.begun(first.id)
    low = [submit(number, "low", 0.05) for number in range(1, 4)]
    high = [submit(number, "high", 0.05) for number in range(10, 14)]
    assert {system.final(task.id).state for task in [first, *low, *high]} == {State.SUCCEEDED}
    order = [int(line.removeprefix("start ")) for line in lines(path)]
    assert (order[0], set(order[1:5]), set(order[5:])) == (0, {10, 11, 12, 13}, {1, 2, 3})


@scenario
def poison_is_set_aside_and_its_neighbour_spends_no_attempt(system: System, path: Path) -> None:
    guilty = do(system, "crash", {"number": 1, "seconds": 0.7, "path": str(path)})
    innocent = do(system, "sleep", {"number": 2, "seconds": 1.5, "path": str(path)}, priority="high")
    ended = system.final(innocent.id)
    assert (ended.state, ended.attempt, ended.errors) == (State.SUCCEEDED, 1, ())
    set_aside = system.final(guilty.id)
    assert (set_aside.state, set_aside.attempt) == (State.DEAD_LETTERED, 1)
    (letter,) = system.dead_letters(set_aside)
    assert (letter.reason, letter.error.type) == ("poison", "PoisonError")
    assert "3 processes crashed" in letter.error.message
    assert "SIGABRT" in letter.error.message
    # What ran in the process that crashed runs again.
    assert sorted(lines(path)) == ["start 1"] * 3 + ["start 2"] * 2
    assert len(system.outcomes(ended)) == len(system.outcomes(set_aside)) == 1


@scenario
def what_is_durable_does_not_run_again_after_a_crash(system: System, path: Path) -> None:
    go = path.with_name("go")
    task = do(system, "crash_once_told", {"number": 1, "seconds": 0, "path": str(path), "go": str(go)})
    assert system.final(task.id).state is State.SUCCEEDED
    # It lies behind the first in the one partition: when the next process has run it, it has been through the first.
    behind = do(system, "sleep", {"number": 2, "seconds": 1.5, "path": str(path)})
    go.touch()
    assert (ended := system.final(behind.id)).state is State.SUCCEEDED
    assert ended.attempt == 1
    assert lines(path).count("start 1") == 1
    # It may be told twice, as one that readers know to be the same.
    assert {(outcome.id, outcome.generation, outcome.value) for outcome in system.outcomes(task)} == {(task.id, 1, 1)}
