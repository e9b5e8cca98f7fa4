"""What is generated from the contract and committed is what the code generates now."""

from pathlib import Path

from schemas.generate import generate, stale, write
from schemas.settings import Settings, leaves, variable
from tests.support.source_tree import ROOT


def test_no_generated_file_is_stale() -> None:
    assert stale(ROOT) == [], "run `make schemas`"


def test_generating_twice_gives_the_same() -> None:
    assert generate() == generate()


def test_a_changed_a_missing_and_a_left_over_file_are_told_and_mended(tmp_path: Path) -> None:
    write(tmp_path)
    assert stale(tmp_path) == []

    (tmp_path / "docs/topics.md").write_text("old")
    (tmp_path / "schemas/json_schema/task.json").unlink()
    (tmp_path / "schemas/json_schema/payloads/gone.json").write_text("{}")

    assert stale(tmp_path) == [
        "docs/topics.md",
        "schemas/json_schema/payloads/gone.json",
        "schemas/json_schema/task.json",
    ]
    write(tmp_path)
    assert stale(tmp_path) == []


def test_a_release_makes_the_schemas_the_baseline(tmp_path: Path) -> None:
    write(tmp_path, release=True)

    released = tmp_path / "schemas/json_schema/released"
    assert (released / "task.json").read_text() == (tmp_path / "schemas/json_schema/task.json").read_text()
    assert stale(tmp_path) == []


def test_every_setting_is_on_the_page_with_its_meaning() -> None:
    page = (ROOT / "docs/configuration.md").read_text()
    assert [name for name in leaves(Settings) if f"| `{name}` | `{variable(name)}` |" not in page] == []
    assert [name for name, field in leaves(Settings).items() if not field.description] == []
