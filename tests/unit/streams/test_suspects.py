from datetime import UTC, datetime
from pathlib import Path

import msgspec

from schemas.errors import PoisonError
from schemas.retry import DeadLetter, RetryPolicy, verdict
from schemas.suspect import Suspect
from streams.flight import Flight
from streams.suspects import Suspects, SuspectsFile, read_suspect, suspects_of

FLIGHT = Flight("a", 1, 1, 0, "email", 3, 1.0, 0, alone=False)


def suspect(crashes: int = 1, *, from_within: bool = True, task_id: str = "a", generation: int = 1) -> Suspect:
    return Suspect(
        id=task_id,
        generation=generation,
        type="email",
        partition=3,
        crashes=crashes,
        how="signal SIGSEGV",
        from_within=from_within,
        at=datetime.now(UTC),
        worker="w-1",
    )


def test_everyone_who_was_there_is_a_suspect_of_one_crash_more() -> None:
    flights = [FLIGHT, FLIGHT._replace(task_id="b", crashes=1)]
    found = suspects_of(flights, how="signal SIGKILL", from_within=False, worker="w-1")
    assert [(one.id, one.crashes, one.from_within) for one in found] == [("a", 1, False), ("b", 2, False)]


def test_who_ran_in_a_process_of_its_own_is_charged_with_nothing_new() -> None:
    flights = [FLIGHT._replace(alone=True), FLIGHT._replace(task_id="b", alone=True, crashes=2)]
    found = suspects_of(flights, how="signal SIGKILL", from_within=False, worker="w-1")
    assert [(one.id, one.crashes) for one in found] == [("b", 2)]


def test_a_crash_from_within_isolates_at_once_and_a_kill_from_outside_when_one_crash_is_left() -> None:
    suspects = Suspects(max_crashes=3)
    assert suspects.must_run_alone(suspect(1))
    assert not suspects.must_run_alone(suspect(1, from_within=False))
    assert suspects.must_run_alone(suspect(2, from_within=False))


def test_a_task_stays_a_suspect_until_it_has_ended_and_its_replay_is_none() -> None:
    suspects = Suspects()
    suspects.add([suspect(2), suspect(1)])
    known = suspects.find("a", 1)
    assert known is not None
    assert known.crashes == 2
    assert suspects.find("a", 2) is None
    assert suspects.crashed(known, "exit code 3").crashes == 3
    ended = suspects.ended("a", 1)
    assert ended is not None
    assert ended.how == "exit code 3"
    assert suspects.find("a", 1) is None
    assert suspects.ended("a", 1) is None


def test_the_file_keeps_what_nobody_has_taken_over_yet(tmp_path: Path) -> None:
    file = SuspectsFile(tmp_path / "w.suspects")
    assert file.read() == []
    file.add([suspect(1), suspect(1, task_id="b")])
    file.add([suspect(2)])
    assert {(one.id, one.crashes) for one in file.read()} == {("a", 2), ("b", 1)}
    file.clear()
    file.clear()
    assert file.read() == []


def test_a_record_comes_back_as_it_was_and_other_bytes_are_none() -> None:
    one = suspect()
    assert read_suspect(msgspec.json.encode(one)) == one
    assert read_suspect(b"{}") is None
    assert read_suspect(b"\xff") is None


def test_poison_is_a_dead_letter_at_once_whatever_the_policy() -> None:
    follows = verdict(PoisonError("x"), attempt=1, max_attempts=99, policy=RetryPolicy(max_attempts=99))
    assert isinstance(follows, DeadLetter)
    assert follows.reason == "poison"
