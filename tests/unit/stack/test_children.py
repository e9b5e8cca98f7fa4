import asyncio
import os
import signal
import sys
import threading
from datetime import timedelta
from pathlib import Path

import pytest

from laneway.stack.children import BoundedLog, Child, ChildEvents, ChildLine, backoff_after, telling
from tests.support.processes import is_alive
from tests.support.waiting import eventually


def test_the_wait_before_a_new_start_doubles_from_1_to_30_seconds() -> None:
    assert [backoff_after(deaths).total_seconds() for deaths in range(1, 8)] == [1, 2, 4, 8, 16, 30, 30]
    assert backoff_after(10_000) == timedelta(seconds=30)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b'{"event":"request","level":"info"}', None),
        (b'{"event":"noise","level":"debug"}', None),
        (b"\n", None),
        (
            b'{"event":"lost","level":"error","lane":"a.high","timestamp":"t","traceback":"x"}',
            ChildLine("error", "lost  lane=a.high"),
        ),
        (b"printed by a handler\n", ChildLine("output", "printed by a handler")),
        (b"\xff\xfe", ChildLine("output", "��")),
    ],
)
def test_people_see_warnings_errors_and_what_is_no_log_record(line: bytes, told: ChildLine | None) -> None:
    assert telling(line) == told


def test_a_log_stays_within_its_bound_and_keeps_two_older_ones(tmp_path: Path) -> None:
    log = BoundedLog(tmp_path / "logs" / "api.log", limit=100)
    for number in range(100):
        log.write(b"%09d\n" % number)
    log.close()
    files = sorted(path.name for path in log.path.parent.iterdir())
    assert files == ["api.log", "api.log.1", "api.log.2"]
    assert all(path.stat().st_size <= 100 for path in log.path.parent.iterdir())
    assert log.path.read_bytes().endswith(b"000000099\n")


class Heard:
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.deaths: list[int] = []

    @property
    def events(self) -> ChildEvents:
        return ChildEvents(
            said=lambda _, line: self.lines.append(line.text), died=lambda _, code, *__: self.deaths.append(code)
        )


def child(folder: Path, heard: Heard, code: str, announces: str | None = None) -> Child:
    (folder / "played_child.py").write_text(code, "utf-8")
    return Child(
        "played",
        ["played_child"],
        environment={"PYTHONPATH": f"{folder}:{':'.join(sys.path)}", "PYTHONUNBUFFERED": "1"},
        log=folder / "played.log",
        events=heard.events,
        announces=announces,
    )


async def test_one_that_ends_for_wrong_use_is_not_started_again(tmp_path: Path) -> None:
    heard = Heard()
    played = child(tmp_path, heard, "import sys\nprint('laneway: a: saw 1, want 2')\nsys.exit(2)\n")
    assert await asyncio.wait_for(played.unstartable, 20) == "laneway: a: saw 1, want 2"
    await played.stop(timedelta(seconds=5))
    assert heard.deaths == []


async def test_one_that_dies_is_started_again_and_what_it_left_is_swept(tmp_path: Path) -> None:
    heard = Heard()
    code = (
        "import subprocess, sys, time\n"
        "left = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "print('left', left.pid)\n"
        "sys.exit(7)\n"
    )
    played = child(tmp_path, heard, code)
    await eventually(lambda: len(heard.deaths) >= 2, within=20)
    await played.stop(timedelta(seconds=5))
    assert set(heard.deaths) == {7}
    assert not any(is_alive(int(line.split()[1])) for line in heard.lines)


async def test_one_that_ignores_sigterm_is_killed_with_what_it_started(tmp_path: Path) -> None:
    heard = Heard()
    code = (
        "import signal, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        'print(\'{"event": "played ready", "level": "info"}\')\n'
        "time.sleep(600)\n"
    )
    played = child(tmp_path, heard, code, announces="played ready")
    await asyncio.wait_for(played.ready.wait(), 20)
    pid = played.pid
    assert pid is not None
    await played.stop(timedelta(seconds=0.2))
    assert not is_alive(pid)
    assert heard.deaths == []


async def test_one_that_a_signal_finds_dead_is_heard_of_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    look, looked_at = os.waitid, threading.Event()

    def late(kind: int, pid: int, options: int) -> object:
        looked_at.wait(10)
        return look(kind, pid, options)

    monkeypatch.setattr(os, "waitid", late)
    heard = Heard()
    played = child(tmp_path, heard, 'import time\nprint(\'{"event": "on", "level": "info"}\')\ntime.sleep(600)\n', "on")
    await asyncio.wait_for(played.ready.wait(), 20)
    pid = played.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    await eventually(lambda: not is_alive(pid))
    played.signal(signal.SIGTERM)
    looked_at.set()
    await eventually(lambda: heard.deaths == [-signal.SIGKILL], within=20)
    await played.stop(timedelta(seconds=5))
