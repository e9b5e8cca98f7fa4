import re
import tomllib
from typing import Final

from tests.support.source_tree import ROOT

PIN: Final = re.compile(r"^([a-z0-9-]+)==([^ ;]+)", re.MULTILINE)
NAME: Final = re.compile(r"^[A-Za-z0-9._-]+")


def pins(lock: str) -> dict[str, str]:
    return dict(PIN.findall((ROOT / lock).read_text()))


def names(requirements: list[str]) -> set[str]:
    return {match[0].lower().replace("_", "-") for text in requirements if (match := NAME.match(text))}


def test_every_dependency_is_locked_at_run_time_and_for_development() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert names(project["project"]["dependencies"]) <= set(pins("requirements.lock"))
    assert names(project["dependency-groups"]["dev"]) <= set(pins("requirements-dev.lock"))


def test_development_runs_the_versions_of_run_time() -> None:
    assert pins("requirements.lock").items() <= pins("requirements-dev.lock").items()


def test_every_locked_package_carries_a_hash() -> None:
    for lock in ("requirements.lock", "requirements-dev.lock"):
        entries = re.split(r"^(?=[a-z0-9-]+==)", (ROOT / lock).read_text(), flags=re.MULTILINE)
        assert not [entry.split(" ")[0] for entry in entries if entry.strip() and "--hash=sha256:" not in entry]


def test_every_run_time_dependency_is_explained() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    page = (ROOT / "docs" / "dependencies.md").read_text()
    explained = set(re.findall(r"^\| `([^`]+)` \|", page, flags=re.MULTILINE))
    optional = [each for extra in project["project"].get("optional-dependencies", {}).values() for each in extra]
    assert names([*project["project"]["dependencies"], *optional]) == explained
