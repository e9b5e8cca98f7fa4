"""The examples of ``docs/testing.md`` are tests that pass, and its table of crashes says what the kit does."""

import re
import subprocess
import sys
from pathlib import Path

from laneway.testing.crashes import MEANINGS
from tests.support.source_tree import ROOT

GUIDE = (ROOT / "docs" / "testing.md").read_text("utf-8")


def test_every_example_passes_in_a_pytest_of_its_own(tmp_path: Path) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", GUIDE, re.DOTALL | re.MULTILINE)
    (tmp_path / "test_guide.py").write_text("\n".join(blocks))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    tests = sum(block.count("\ndef test_") for block in blocks)
    assert f"{tests} passed" in done.stdout, done.stdout


def test_it_names_every_point_of_a_crash() -> None:
    assert re.findall(r"^\| `(\w+)` \|", GUIDE.partition("## Crashes")[2], re.MULTILINE) == list(MEANINGS)
