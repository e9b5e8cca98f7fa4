import subprocess
import sys
from pathlib import Path

import pytest

from laneway.cli import main

HEAVY = ("pydantic", "httpx", "rich", "confluent_kafka", "faust", "fastapi", "msgspec", "duckdb")


def test_the_command_line_itself_imports_nothing_heavy() -> None:
    code = f"import sys, laneway.cli; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr


def test_a_module_that_is_not_there_is_one_line_and_exit_code_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["up", "--import", "no_such_module_of_mine"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("laneway: --import no_such_module_of_mine: saw")
    assert error.count("\n") == 1


def test_a_module_that_fails_says_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "failing_tasks.py").write_text("\n\n1 / 0\n", "utf-8")
    assert main(["up", "--import", "failing_tasks"]) == 2
    error = capsys.readouterr().err
    assert "ZeroDivisionError" in error
    assert "failing_tasks.py:3" in error
