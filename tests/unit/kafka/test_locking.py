"""A lock belongs to the file that stands at its path."""

import fcntl
import os
from pathlib import Path

import pytest

from laneway.kafka.embedded.locking import acquire
from laneway.machine import open_file


def test_a_lock_is_held_once_and_given_back(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    first = acquire(path)
    assert first is not None
    assert acquire(path) is None
    os.close(first)
    second = acquire(path)
    assert second is not None
    os.close(second)


def test_a_lock_of_a_file_that_was_removed_meanwhile_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.lock"
    lock_it = fcntl.flock
    removals = [path]

    def removed_before_it_is_locked(descriptor: int, how: int) -> None:
        if removals:
            removals.pop().unlink()
        lock_it(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", removed_before_it_is_locked)
    lock = acquire(path)
    assert lock is not None
    assert os.path.samestat(os.fstat(lock), path.stat())
    os.close(lock)


def test_only_a_file_that_is_open_here_has_a_name(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    assert open_file(path) == ""
    path.touch()
    assert open_file(path) == ""
    with path.open():
        named = open_file(path)
        assert named
    assert open_file(path) == ""
    with path.open():
        assert open_file(path) == named
