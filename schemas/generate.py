"""Writes what is derived from the contract: its JSON Schemas, its AsyncAPI document and its pages in ``docs/``.

python -m schemas.generate             write them
python -m schemas.generate --check     exit 1 if one is stale
python -m schemas.generate --release   also make them the schemas that later ones are held against
"""

import argparse
import sys
from pathlib import Path
from typing import Final

from schemas.asyncapi import asyncapi_file
from schemas.pages import configuration_page, headers_page, metrics_page, states_page, topics_page
from schemas.record_schemas import json_schemas

SCHEMAS_DIR: Final = "schemas/json_schema"
RELEASED_DIR: Final = f"{SCHEMAS_DIR}/released"


def generate() -> dict[str, str]:
    """Every generated file: its text by its path in the repository."""
    return {f"{SCHEMAS_DIR}/{name}": text for name, text in json_schemas().items()} | {
        "schemas/asyncapi.json": asyncapi_file(),
        "docs/configuration.md": configuration_page(),
        "docs/headers.md": headers_page(),
        "docs/metrics.md": metrics_page(),
        "docs/states.md": states_page(),
        "docs/topics.md": topics_page(),
    }


def stale(root: Path) -> list[str]:
    """Paths whose text under ``root`` is not what is generated, and schemas that nothing generates any more."""
    files = generate()
    present = {str(path.relative_to(root).as_posix()) for path in (root / SCHEMAS_DIR).rglob("*.json")}
    left_over = {path for path in present - set(files) if not path.startswith(f"{RELEASED_DIR}/")}
    differing = {
        path
        for path, text in files.items()
        if not (root / path).is_file() or (root / path).read_text(encoding="utf-8") != text
    }
    return sorted(differing | left_over)


def write(root: Path, *, release: bool = False) -> None:
    """Bring the files under ``root`` up to date.

    Args:
        root: the repository.
        release: the schemas become the baseline of ``schemas.compatibility``, too.
    """
    files = generate()
    if release:
        files |= {f"{RELEASED_DIR}/{name}": text for name, text in json_schemas().items()}
    for path in stale(root):
        if path not in files:
            (root / path).unlink()
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding="utf-8")


def main() -> int:
    """Do what the command line says; answers the exit code."""
    options = argparse.ArgumentParser(prog="python -m schemas.generate", description=(__doc__ or "").partition("\n")[0])
    what = options.add_mutually_exclusive_group()
    what.add_argument("--check", action="store_true", help="write nothing; exit 1 if a file is stale")
    what.add_argument("--release", action="store_true", help="also replace the released schemas")
    options.add_argument("--root", type=Path, default=Path(__file__).resolve().parents[1], help="the repository")
    chosen = options.parse_args()
    if not chosen.check:
        write(chosen.root, release=chosen.release)
        return 0
    findings = stale(chosen.root)
    for path in findings:
        sys.stderr.write(f"stale: {path}; run `make schemas`\n")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
