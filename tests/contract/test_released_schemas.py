"""No schema changes so that an old reader, or a record that is in the log already, breaks.

Meant to be broken all the same? Say so in the changelog, then run `python -m schemas.generate --release`.
"""

import json
from pathlib import Path
from typing import Final

import pytest

from schemas.compatibility import PROMISES, breaking_changes
from schemas.generate import RELEASED_DIR, SCHEMAS_DIR
from schemas.record_schemas import RECORDS, json_schemas
from tests.support.source_tree import ROOT

RELEASED: Final = ROOT / RELEASED_DIR
FILES: Final = sorted(path.relative_to(RELEASED) for path in RELEASED.rglob("*.json"))
PRESENT: Final = sorted(Path(name) for name in json_schemas())


@pytest.mark.parametrize("file", FILES, ids=str)
def test_the_present_schema_breaks_nobody(file: Path) -> None:
    present = ROOT / SCHEMAS_DIR / file
    assert present.is_file(), f"{file} is gone: nobody can read what was written by it"
    old, new = json.loads((RELEASED / file).read_text()), json.loads(present.read_text())

    breaks = [f"{side}: {change}" for side in PROMISES[_family(file)] for change in breaking_changes(old, new, side)]

    assert breaks == []


def test_every_record_is_under_a_promise() -> None:
    assert {_family(file) for file in PRESENT} == set(PROMISES)
    assert set(RECORDS) <= set(PROMISES)


def test_every_schema_has_one_that_it_is_held_against() -> None:
    assert set(PRESENT) - set(FILES) == set(), "a new record: run `python -m schemas.generate --release`"


@pytest.mark.parametrize("file", FILES, ids=str)
def test_whatever_the_log_may_hold_is_held_fast(file: Path) -> None:
    """A property that came after the baseline is in the log as soon as it is on main; so it joins the baseline."""
    old, new = json.loads((RELEASED / file).read_text()), json.loads((ROOT / SCHEMAS_DIR / file).read_text())

    assert set(new["properties"]) - set(old["properties"]) == set(), "run `python -m schemas.generate --release`"


def _family(file: Path) -> str:
    return file.parts[0].removesuffix(".json")
