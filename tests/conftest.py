from collections.abc import Generator
from pathlib import Path
from typing import Any, Final

import pytest

# Scenarios that several suites run assert outside of any test module.
pytest.register_assert_rewrite("tests.support.semantics.scenarios")

# Rooms whose tests talk to real processes: sockets are open there, and one test may take longer than pytest's default.
REAL_ROOMS: Final = {"integration": 180, "e2e": 420, "chaos": 900, "bench": 900}
LAST_LINES: Final = 60


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        room = item.path.relative_to(here).parts[0]
        if room not in REAL_ROOMS:
            continue
        item.add_marker(pytest.mark.enable_socket)
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(REAL_ROOMS[room]))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[Any]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what the processes of a failed test had logged: where it fails only once, nothing else tells why."""
    report = yield
    folder = getattr(item, "funcargs", {}).get("tmp_path")
    if report.failed and folder is not None:
        for log in sorted(folder.rglob("*.log")):
            lines = log.read_text("utf-8", "replace").splitlines()[-LAST_LINES:]
            report.sections.append((f"the end of {log.relative_to(folder)}", "\n".join(lines)))
    return report
