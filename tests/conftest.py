from pathlib import Path
from typing import Final

import pytest

# Rooms whose tests talk to real processes: sockets are open there, and one test may take longer than pytest's default.
REAL_ROOMS: Final = {"integration": 180, "e2e": 420, "chaos": 900, "bench": 900}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        room = item.path.relative_to(here).parts[0]
        if room not in REAL_ROOMS:
            continue
        item.add_marker(pytest.mark.enable_socket)
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(REAL_ROOMS[room]))
