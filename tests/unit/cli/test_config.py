from pathlib import Path

import msgspec
import pytest

from laneway.cli import main
from laneway.stack.presence import sole_stack, tell


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LANEWAY_KAFKA__BOOTSTRAP_SERVERS", raising=False)


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, dict[str, str]]:
    assert main(["config", "--json", *arguments]) == 0
    return msgspec.json.decode(capsys.readouterr().out, type=dict[str, dict[str, str]])


def test_each_value_says_where_it_came_from(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LANEWAY_API__PORT", "8090")
    settings = shown(capsys, "--data-dir", "here")
    assert settings["api.port"] == {"value": "8090", "origin": "environment", "variable": "LANEWAY_API__PORT"}
    assert settings["data_dir"]["origin"] == "command line"
    assert settings["kafka.partitions"]["origin"] == "default"


def test_secrets_are_masked(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("LANEWAY_EMAIL__PASSWORD", "hunter2")
    assert main(["config"]) == 0
    out = capsys.readouterr().out
    assert "hunter2" not in out
    assert "****" in out


def test_what_a_running_stack_decided_is_in_force_unless_somebody_says_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LANEWAY_API__PORT", "8090")
    with sole_stack(tmp_path / ".laneway"):
        tell(tmp_path / ".laneway", {"kafka.partitions": 4, "api.port": 18080})
        settings = shown(capsys)
    assert settings["kafka.partitions"]["value"] == "4"
    assert settings["kafka.partitions"]["origin"] == "running stack"
    assert settings["api.port"]["value"] == "8090"
    assert shown(capsys)["kafka.partitions"]["value"] == "12"
