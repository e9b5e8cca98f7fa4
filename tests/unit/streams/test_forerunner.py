"""What a process notes of its memberships is its successor's, and nobody else's."""

from pathlib import Path

import pytest

from streams import forerunner
from streams.forerunner import Memberships

MEMBERS = {"t.email.low": "worker-1-77-email.low-5e1f"}


def test_the_next_of_the_name_finds_the_latest(tmp_path: Path) -> None:
    noted = Memberships(tmp_path / "worker-1.members")
    assert noted.left_behind() == {}
    noted.note({"t.email.low": "before"})
    noted.note(MEMBERS)
    assert Memberships(tmp_path / "worker-1.members").left_behind() == MEMBERS


def test_a_copy_on_another_machine_tells_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Memberships(tmp_path / "worker-1.members").note(MEMBERS)
    monkeypatch.setattr(forerunner, "boot_id", lambda: "another machine")
    assert Memberships(tmp_path / "worker-1.members").left_behind() == {}


def test_nothing_is_believed_where_the_system_names_no_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forerunner, "boot_id", lambda: "")
    Memberships(tmp_path / "worker-1.members").note(MEMBERS)
    assert Memberships(tmp_path / "worker-1.members").left_behind() == {}


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"boot": 1}'])
def test_a_file_that_makes_no_sense_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "worker-1.members").write_bytes(content)
    assert Memberships(tmp_path / "worker-1.members").left_behind() == {}


def test_a_full_disk_is_survived(tmp_path: Path) -> None:
    Memberships(tmp_path / "no such folder" / "worker-1.members").note(MEMBERS)


def test_a_worker_that_nobody_supervises_notes_nothing() -> None:
    noted = Memberships(None)
    noted.note(MEMBERS)
    assert noted.left_behind() == {}
