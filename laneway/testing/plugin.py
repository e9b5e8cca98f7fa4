"""What pytest gets of the test kit, by its entry point."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from laneway.testing.sandbox import Sandbox


@pytest.fixture
def laneway_sandbox(request: pytest.FixtureRequest) -> "Iterator[Sandbox]":
    """A Laneway of the test's own, without a broker and in virtual time: see ``laneway.testing.Sandbox``."""
    from laneway.testing.sandbox import Sandbox

    with Sandbox() as lane:
        request.node.add_report_section("call", "laneway", f"the sandbox was Sandbox(seed={lane.seed})")
        yield lane
