import os
import signal
import subprocess
import sys
from pathlib import Path

from streams.flight import FlightRecorder, Phase, Vitals, read_flight, read_vitals
from tests.support.source_tree import ROOT

ID = "0190e2a0-0000-7000-8000-000000000000"


def test_what_runs_is_read_back_and_what_ended_is_not(tmp_path: Path) -> None:
    recorder = FlightRecorder(tmp_path / "w.flight", slots=4)
    over = recorder.begin("over", 1, 1, 0, "email", 0, 1.0)
    recorder.begin(ID, 2, 3, 4, "billing.invoice", 5, 7.5, 1, alone=True)
    recorder.end(over)
    (flight,) = read_flight(recorder.path)
    assert flight == (ID, 2, 3, 4, "billing.invoice", 5, 7.5, 1, True)
    assert (recorder.running, recorder.finished) == (1, 1)


def test_it_outlives_a_sigkill(tmp_path: Path) -> None:
    path = tmp_path / "w.flight"
    code = (
        "import os, signal, sys; from pathlib import Path; from streams.flight import FlightRecorder\n"
        f"FlightRecorder(Path(sys.argv[1])).begin({ID!r}, 1, 1, 0, 'email', 3, 1.0)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code, path], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert ended.returncode == -signal.SIGKILL
    assert [flight.task_id for flight in read_flight(path)] == [ID]


def test_after_an_end_in_order_nothing_is_in_doubt(tmp_path: Path) -> None:
    recorder = FlightRecorder(tmp_path / "w.flight", slots=4)
    recorder.begin(ID, 1, 1, 0, "email", 0, 1.0)
    recorder.enter(Phase.STOPPED)
    assert read_flight(recorder.path) == []


def test_runs_beyond_the_slots_are_counted_and_do_no_harm(tmp_path: Path) -> None:
    recorder = FlightRecorder(tmp_path / "w.flight", slots=2)
    slots = [recorder.begin(str(number), 1, 1, 0, "email", 0, float(number)) for number in range(3)]
    assert recorder.missed == 1
    assert [flight.task_id for flight in read_flight(recorder.path)] == ["0", "1"]
    for slot in slots:
        recorder.end(slot)
    assert read_flight(recorder.path) == []
    assert recorder.begin("again", 1, 1, 0, "email", 0, 1.0) >= 0


def test_the_supervisor_reads_how_it_goes(tmp_path: Path) -> None:
    recorder = FlightRecorder(tmp_path / "w.flight", slots=4)
    recorder.begin(ID, 1, 1, 0, "email", 0, 1.0)
    vitals = Vitals(os.getpid(), Phase.READY, looks=3, finished=2**40, lag=5, blocked=6, stalls=7)
    recorder.tell(vitals)
    assert read_vitals(recorder.path) == (vitals, 1)


def test_a_file_that_is_none_of_ours_says_nothing(tmp_path: Path) -> None:
    path = tmp_path / "w.flight"
    assert read_flight(path) == []
    assert read_vitals(path) is None
    path.write_bytes(b"\xff" * 10_000)
    assert read_flight(path) == []
    assert read_vitals(path) is None


def test_the_longest_id_and_type_fit(tmp_path: Path) -> None:
    recorder = FlightRecorder(tmp_path / "w.flight", slots=1)
    recorder.begin("i" * 64, 2**32 - 1, 2**32 - 1, 2**32 - 1, "t" * 100, 2**32 - 1, 1.0, 2**16 - 1)
    (flight,) = read_flight(recorder.path)
    assert (flight.task_id, flight.type) == ("i" * 64, "t" * 100)
