import re
from typing import Final

from tests.support.source_tree import ROOT

RECORDS: Final = ROOT / "docs" / "adr"
PARTS: Final = ("## Context", "## Decision", "## Consequences", "## Alternatives", "## Enforced by")


def test_the_index_lists_every_record_once_and_in_order() -> None:
    listed = re.findall(r"\]\((\d{4}-[a-z0-9-]+\.md)\)", (RECORDS / "README.md").read_text())
    assert listed == sorted(path.name for path in RECORDS.glob("[0-9]*.md"))


def test_numbers_are_used_once() -> None:
    numbers = [path.name[:4] for path in RECORDS.glob("[0-9]*.md")]
    assert len(numbers) == len(set(numbers))


def test_every_record_has_the_five_parts() -> None:
    incomplete = {
        path.name: missing
        for path in RECORDS.glob("[0-9]*.md")
        if (missing := [part for part in PARTS if part not in path.read_text()])
    }
    assert not incomplete
