"""What a process notes of its memberships is its successor's, and nobody else's."""

import asyncio
from pathlib import Path

import pytest

from schemas.settings import Settings, WorkerSettings
from streams import forerunner
from streams.forerunner import Memberships, take_out

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


async def test_it_is_tried_again_whatever_comes_of_a_try(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # All that aiokafka was seen to raise: a coordinator that it does not know, one that does not answer, none at all.
    troubles = [AssertionError("Broker id 3 not in current metadata"), TimeoutError(), ConnectionError()]

    async def tried(_: Settings, left: dict[str, str]) -> None:
        if troubles:
            raise troubles.pop()
        left.clear()

    monkeypatch.setattr(forerunner, "_take_out", tried)
    async with asyncio.timeout(5):
        await take_out(Settings(data_dir=tmp_path, worker=WorkerSettings(session_timeout=300)), MEMBERS)
    assert not troubles


async def test_it_is_not_tried_for_longer_than_a_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(_: Settings, __: dict[str, str]) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(forerunner, "_take_out", never)
    async with asyncio.timeout(10):
        await take_out(Settings(data_dir=tmp_path, worker=WorkerSettings(session_timeout=2)), MEMBERS)
