from pathlib import Path

import pytest

from laneway.cli import main


def test_help_is_no_failure(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert "submit" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        ["nosuch"],
        ["submit"],
        ["submit", "email", "{}", "--priority", "urgent"],
        ["submit", "email", "no json"],
        ["submit", "email", "@no-such-file.json"],
        ["submit", "email", "{}", "--label", "without-a-value"],
        ["up", "--brokers", "2"],
        ["worker", "--priorities", "high,urgent"],
        ["list", "--since", "yesterday"],
        ["topics"],
    ],
    ids=" ".join,
)
def test_wrong_use_is_exit_code_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err


@pytest.mark.parametrize(
    "arguments",
    [["config"], ["list"], ["types"], ["up"], ["api"], ["worker"], ["results", "email"], ["topics", "plan"]],
    ids=" ".join,
)
def test_an_unknown_variable_is_one_line_and_exit_code_2(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LANEWAY_KAFKA__BOOTSTRAP_SERVER", "typo:9092")
    assert main(arguments) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err == (
        "laneway: LANEWAY_KAFKA__BOOTSTRAP_SERVER: saw 'typo:9092',"
        " want a known setting (`laneway config` lists them all)\n"
    )


def test_a_value_that_cannot_be_names_the_variable(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LANEWAY_API__PORT", "many")
    assert main(["config"]) == 2
    assert capsys.readouterr().err.startswith("laneway: LANEWAY_API__PORT: saw 'many', want")


def test_no_cluster_is_said_with_its_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LANEWAY_DATA_DIR", str(tmp_path))
    monkeypatch.delenv("LANEWAY_KAFKA__BOOTSTRAP_SERVERS", raising=False)
    assert main(["topics", "plan"]) == 2
    assert "laneway up" in capsys.readouterr().err
