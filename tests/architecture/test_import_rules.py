import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.support.source_tree import PACKAGES, ROOT, modules

SCHEMAS_MAY_IMPORT: Final = {
    *sys.stdlib_module_names,
    "msgspec",
    "pydantic",
    "pydantic_core",
    "pydantic_settings",
    "schemas",
}

# The modules of laneway that start the processes, or stand in for them in tests, and the facade, which resolves names
# when they are first asked for.
MAY_IMPORT_PROCESSES: Final = {("laneway", name) for name in ("__init__", "cli", "stack", "testing")}


def imported(path: Path) -> Iterator[str]:
    """Full names of what a module imports, at its top or anywhere inside."""
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module or ""


def test_every_contract_of_import_linter_is_kept() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    run = subprocess.run([linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr


def test_schemas_imports_only_the_standard_library_msgspec_and_pydantic() -> None:
    strangers = {
        f"{path}: {name}"
        for path in modules("schemas")
        for name in imported(path)
        if name.split(".")[0] not in SCHEMAS_MAY_IMPORT
    }
    assert not strangers


def test_only_the_command_line_and_the_stack_import_the_processes() -> None:
    intruders = {
        f"{path}: {name}"
        for path in modules("laneway")
        for name in imported(path)
        if name.split(".")[0] in {"consumers", "ingest", "streams"}
        and (path.parts[0], path.with_suffix("").parts[1]) not in MAY_IMPORT_PROCESSES
    }
    assert not intruders


def test_no_package_imports_the_tests() -> None:
    assert not {str(path) for path in modules(*PACKAGES) if any(n.split(".")[0] == "tests" for n in imported(path))}
