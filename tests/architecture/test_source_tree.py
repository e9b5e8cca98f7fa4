import ast
import re
from pathlib import Path
from typing import Final

from tests.support.source_tree import PACKAGES, ROOT, modules, source_files

TOP_LEVEL: Final = {
    *PACKAGES,
    "docker",
    "tests",
    "docs",
    "examples",
    "deploy",
    ".ci",
    ".dockerignore",
    ".editorconfig",
    ".gitattributes",
    ".gitignore",
    ".pre-commit-config.yaml",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LICENSE",
    "Makefile",
    "README.md",
    "SECURITY.md",
    "pyproject.toml",
    "requirements-dev.lock",
    "requirements.lock",
}

MAX_LINES: Final = 450

# A lock or a document that names a registry ties everybody to it; pip, uv and jgo take theirs from the user's settings.
# Spelled in parts, or this file would be a finding.
REGISTRIES: Final = tuple(
    ".".join(parts).encode()
    for parts in (
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("maven", "org"),
        ("repo", "maven", "apache", "org"),
        ("registry", "npmjs"),
    )
)

# Settings come from schemas/settings.py and are passed down; each exception says what it needs the environment for.
READS_THE_ENVIRONMENT: Final = {
    Path("schemas/settings.py"): "the one place that reads LANEWAY_ variables",
    Path("laneway/tracing.py"): "the variables that OpenTelemetry defines, which are not ours",
}

BAD_NAMES: Final = re.compile(r"(^|_)(utils?|helpers?|common|misc)(_|$)")


def test_the_top_level_holds_only_what_was_agreed() -> None:
    assert {path.parts[0] for path in source_files()} <= TOP_LEVEL


def test_no_module_is_longer_than_450_lines() -> None:
    lengths = {path: len((ROOT / path).read_text().splitlines()) for path in modules(*PACKAGES, "tests", "examples")}
    assert not {str(path): lines for path, lines in lengths.items() if lines > MAX_LINES}


def test_no_module_is_named_after_nothing() -> None:
    assert not [str(path) for path in modules(*PACKAGES, "tests") if BAD_NAMES.search(path.stem)]


def test_no_file_names_a_package_registry() -> None:
    findings = {
        f"{path}: {registry.decode()}"
        for path in source_files()
        for registry in REGISTRIES
        if registry in (ROOT / path).read_bytes()
    }
    assert not findings


def test_only_the_settings_read_the_environment() -> None:
    readers = {path for path in modules(*PACKAGES) if _reads_the_environment((ROOT / path).read_text())}
    assert {str(path) for path in readers - set(READS_THE_ENVIRONMENT)} == set()


def _reads_the_environment(source: str) -> bool:
    names = {"environ", "environb", "getenv", "getenvb"}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.value.id == "os" and node.attr in names:
                return True
        elif isinstance(node, ast.ImportFrom) and node.module == "os" and names & {alias.name for alias in node.names}:
            return True
    return False
