"""No Java outlives whoever started the embedded broker, whichever of the processes is killed, and in whatever order."""

import os
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from laneway.kafka.broker import EmbeddedKafka
from tests.support.processes import is_alive, parent_of
from tests.support.waiting import eventually

PARENT = """
import sys
from pathlib import Path
from laneway.kafka.broker import EmbeddedKafka

kafka = EmbeddedKafka(Path(sys.argv[1]))
kafka.start()
print(kafka.pids[1], flush=True)
sys.stdin.read()
"""


def start_parent(data_dir: Path) -> tuple[subprocess.Popen[str], int]:
    """A process that owns an embedded broker, and Java's process id."""
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(data_dir)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    return parent, int(parent.stdout.readline())


@pytest.mark.parametrize(
    "order",
    [
        ["parent"],
        pytest.param(["guard"], marks=pytest.mark.skipif(sys.platform != "linux", reason="asks Linux's kernel")),
        pytest.param(["guard", "parent"], marks=pytest.mark.skipif(sys.platform != "linux", reason="the same")),
        pytest.param(["parent", "guard"], marks=pytest.mark.skipif(sys.platform != "linux", reason="the same")),
    ],
    ids="-then-".join,
)
async def test_java_ends(tmp_path: Path, order: list[str]) -> None:
    parent, java = start_parent(tmp_path)
    try:
        guard = parent_of(java)
        assert is_alive(java)
        assert is_alive(guard)
        assert os.getpgid(java) == os.getpgid(guard) == guard != os.getpgid(parent.pid), "Ctrl-C would reach them"

        for victim in order:
            os.kill({"parent": parent.pid, "guard": guard}[victim], signal.SIGKILL)

        await eventually(lambda: not is_alive(java), within=timedelta(seconds=15), what="Java ends")
        await eventually(lambda: not is_alive(guard), within=timedelta(seconds=5), what="the guard ends")
    finally:
        parent.kill()
        parent.communicate()


def test_the_next_start_waits_for_what_a_killed_parent_left(tmp_path: Path) -> None:
    parent, java = start_parent(tmp_path)
    parent.kill()
    parent.communicate()

    with EmbeddedKafka(tmp_path) as kafka:
        assert not is_alive(java)
        assert kafka.pids[1] != java
