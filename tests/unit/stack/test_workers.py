import os
from pathlib import Path

import pytest

from laneway.stack.workers import claim_names, death_reason
from schemas.settings import Settings, WorkerSettings
from streams.flight import FlightRecorder


def test_names_are_the_same_after_a_restart_and_nobody_has_one_twice(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    first = claim_names(settings, 2)
    beside = claim_names(settings, 1)
    assert len({name.text for name in [*first, *beside]}) == 3
    for name in [*first, *beside]:
        os.close(name.lock)
    again = claim_names(settings, 2)
    assert [name.text for name in again] == [name.text for name in first]
    for name in again:
        os.close(name.lock)


def test_two_data_directories_of_one_host_have_other_names(tmp_path: Path) -> None:
    names = [claim_names(Settings(data_dir=tmp_path / folder), 1)[0] for folder in ("a", "b")]
    assert names[0].text != names[1].text
    for name in names:
        os.close(name.lock)


def test_a_name_that_somebody_chose_gets_a_number(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, worker=WorkerSettings(name="mill"))
    (name,) = claim_names(settings, 1)
    assert name.text == "mill-1"
    os.close(name.lock)


def test_what_workers_of_long_ago_left_is_swept_and_what_is_held_is_not(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, worker=WorkerSettings(name="old"))
    gone, held = claim_names(settings, 2)
    FlightRecorder(gone.flight)
    os.close(gone.lock)
    for name in (gone, held):
        os.utime(name.flight.with_suffix(".lock"), (0, 0))
    (new,) = claim_names(Settings(data_dir=tmp_path, worker=WorkerSettings(name="new")), 1)
    assert sorted(path.name for path in (tmp_path / "workers").iterdir()) == ["new-1.lock", "old-2.lock"]
    for name in (held, new):
        os.close(name.lock)


@pytest.mark.parametrize(
    ("code", "reason"), [(70, "stalled"), (-9, "SIGKILL"), (-11, "SIGSEGV"), (1, "failed"), (0, "ended")]
)
def test_a_death_has_a_reason_in_one_word(code: int, reason: str) -> None:
    assert death_reason(code) == reason
