"""No schema changes so that an old reader, or a record that is in the log already, breaks.

Meant to be broken all the same? Say so in the changelog, then run `python -m schemas.generate --release`.
"""

import json
from pathlib import Path
from typing import Final

import pytest

from schemas.compatibility import PROMISES, breaking_changes
from schemas.generate import RELEASED_DIR, SCHEMAS_DIR
from tests.support.source_tree import ROOT

RELEASED: Final = ROOT / RELEASED_DIR
FILES: Final = sorted(path.relative_to(RELEASED) for path in RELEASED.rglob("*.json"))


@pytest.mark.parametrize("file", FILES, ids=str)
def test_the_present_schema_breaks_nobody(file: Path) -> None:
    present = ROOT / SCHEMAS_DIR / file
    assert present.is_file(), f"{file} is gone: nobody can read what was written by it"
    old, new = json.loads((RELEASED / file).read_text()), json.loads(present.read_text())

    breaks = [f"{side}: {change}" for side in PROMISES[_family(file)] for change in breaking_changes(old, new, side)]

    assert breaks == []


def test_every_record_is_under_a_promise() -> None:
    assert {_family(file) for file in FILES} == set(PROMISES)


def _family(file: Path) -> str:
    return file.parts[0].removesuffix(".json")
