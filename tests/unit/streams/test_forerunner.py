"""What a process notes of its memberships is its successor's, and nobody else's."""

import asyncio
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from laneway.kafka.embedded.locking import acquire
from schemas.settings import KafkaSettings, Settings, WorkerSettings
from streams import forerunner
from streams.forerunner import Member, Memberships, take_out

GROUP = "t.email.low"
DEAD = Member(GROUP, "worker-1-77-email.low-5e1f")


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    """Where a worker notes its memberships, whose name this process holds."""
    path = tmp_path / "worker-1.members"
    lock = acquire(path.with_suffix(".lock"))
    assert lock is not None
    yield path
    os.close(lock)


def left_behind(path: Path | None) -> set[Member]:
    return set(Memberships(path).left_behind)


def test_the_next_of_the_name_finds_the_latest(path: Path) -> None:
    noted = Memberships(path)
    assert noted.left_behind == set()
    noted.note({GROUP: "before"})
    noted.note({GROUP: DEAD.id})
    assert left_behind(path) == {DEAD}


def test_who_has_not_left_yet_is_still_known_to_the_one_after_the_next(path: Path) -> None:
    Memberships(path).note({GROUP: DEAD.id})
    second = Memberships(path)
    second.note({GROUP: "second"})
    assert left_behind(path) == {DEAD, Member(GROUP, "second")}
    second.left_behind.clear()
    second.note({GROUP: "second"})
    assert left_behind(path) == {Member(GROUP, "second")}


def test_in_another_start_of_the_machine_it_tells_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Memberships(path).note({GROUP: DEAD.id})
    monkeypatch.setattr(forerunner, "boot_id", lambda: "another")
    assert left_behind(path) == set()


def test_nothing_is_believed_where_the_system_names_no_start(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forerunner, "boot_id", lambda: "")
    Memberships(path).note({GROUP: DEAD.id})
    assert left_behind(path) == set()


def test_a_copy_of_the_folder_tells_nothing(path: Path, tmp_path: Path) -> None:
    Memberships(path).note({GROUP: DEAD.id})
    copied = shutil.copytree(tmp_path, tmp_path / "copied") / path.name
    lock = acquire(copied.with_suffix(".lock"))
    assert lock is not None
    assert copied.read_bytes() == path.read_bytes()
    assert left_behind(copied) == set()
    os.close(lock)


def test_a_name_without_its_lock_neither_notes_nor_believes(path: Path) -> None:
    Memberships(path).note({GROUP: DEAD.id})
    path.with_suffix(".lock").unlink()
    assert left_behind(path) == set()
    Memberships(path).note({GROUP: "another"})
    assert DEAD.id in path.read_text()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"holder": 1}', b"\xff"])
def test_a_file_that_makes_no_sense_is_none(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    assert left_behind(path) == set()


def test_a_full_disk_is_survived(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    Memberships(path).note({GROUP: DEAD.id})
    assert not path.exists()


def test_a_worker_that_nobody_supervises_notes_nothing() -> None:
    noted = Memberships(None)
    noted.note({GROUP: DEAD.id})
    assert noted.left_behind == set()


class Client:
    """A cluster whose first group's coordinator stands still, or says what it is told to."""

    def __init__(self, stuck: str = "", *troubles: Exception) -> None:
        self.stuck = stuck
        self.troubles = list(troubles)
        self.out: list[str] = []

    def __call__(self, **_: object) -> "Client":
        return self

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    async def find_coordinator(self, _: str) -> int:
        if self.troubles:
            raise self.troubles.pop()
        return 0

    async def _send_request_to_node(self, _: int, request: Any) -> Any:
        if request._group == self.stuck:
            await asyncio.sleep(0.05)
            raise TimeoutError
        self.out.append(request._group)
        return type("Answer", (), {"error_code": 0})


@pytest.fixture
def patient(tmp_path: Path) -> Settings:
    return with_session(tmp_path, 300)


def with_session(data_dir: Path, seconds: float) -> Settings:
    kafka = KafkaSettings(bootstrap_servers="127.0.0.1:1")
    return Settings(data_dir=data_dir, kafka=kafka, worker=WorkerSettings(session_timeout=seconds))


def behind(path: Path, *groups: str) -> Memberships:
    Memberships(path).note(dict.fromkeys(groups, "dead"))
    return Memberships(path)


async def test_it_is_tried_again_whatever_comes_of_a_try(
    path: Path, patient: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Client("", KeyError("node 3"), TimeoutError(), ConnectionError(), NotImplementedError())
    monkeypatch.setattr(forerunner, "AIOKafkaAdminClient", client)
    async with asyncio.timeout(5):
        await take_out(patient, behind(path, "a"))
    assert (client.troubles, client.out) == ([], ["a"])


async def test_a_coordinator_that_stands_still_holds_up_its_own_groups_alone(
    path: Path, patient: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Client("a")
    monkeypatch.setattr(forerunner, "AIOKafkaAdminClient", client)
    memberships = behind(path, "a", "b", "c")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await take_out(patient, memberships)
    assert sorted(client.out) == ["b", "c"]
    assert memberships.left_behind == {Member("a", "dead")}


async def test_it_is_not_tried_for_longer_than_a_session(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forerunner, "AIOKafkaAdminClient", Client("a"))
    memberships = behind(path, "a")
    async with asyncio.timeout(10):
        await take_out(with_session(path.parent, 2), memberships)
    assert memberships.left_behind == set()
