"""``make bench-view``: a view of five thousand tasks and one of five million, asked the same questions."""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from ingest.view import schema
from ingest.view.listing import Listing, read_page
from ingest.view.store import ViewStore
from schemas.status import State
from schemas.task import Priority
from tests.bench.view.filling import RARE_TYPE, SPAN, TYPES, fill

NOW: Final = datetime.now(UTC)
LISTINGS: Final = {
    "all": Listing(limit=100),
    "type": Listing(type=TYPES[0], limit=100),
    "type, only old ones": Listing(type=RARE_TYPE, limit=100),
    "type, none": Listing(type="no.such", limit=100),
    "state": Listing(state=State.SUCCEEDED, limit=100),
    "state, rare": Listing(state=State.DEAD_LETTERED, limit=100),
    "state, only old ones": Listing(state=State.CANCELLED, limit=100),
    "state, none": Listing(state=State.EXPIRED, limit=100),
    "priority": Listing(priority=Priority.LOW, limit=100),
    "label": Listing(labels={"tenant": "t7"}, limit=100),
    "label, none": Listing(labels={"tenant": "nobody"}, limit=100),
    "since": Listing(since=NOW - timedelta(hours=1), limit=100),
    "until, deep": Listing(until=NOW - SPAN * 0.9, limit=100),
    "type + state": Listing(type=TYPES[1], state=State.DEAD_LETTERED, limit=100),
    "type + state, none": Listing(type=RARE_TYPE, state=State.RUNNING, limit=100),
    "type + priority": Listing(type=TYPES[1], priority=Priority.HIGH, limit=100),
    "state + priority": Listing(state=State.QUEUED, priority=Priority.LOW, limit=100),
    "state + until": Listing(state=State.CANCELLED, until=NOW - SPAN * 0.5, limit=100),
    "label + state": Listing(labels={"tenant": "t7"}, state=State.DEAD_LETTERED, limit=100),
    "label + state, none": Listing(labels={"tenant": "t7"}, state=State.EXPIRED, limit=100),
    "label + type": Listing(labels={"tenant": "t7"}, type=TYPES[2], limit=100),
    "q": Listing(q="mailbox full", limit=100),
    "q, none": Listing(q="no such text", limit=100),
    "q + state": Listing(q="mailbox", state=State.DEAD_LETTERED, limit=100),
    "q + type, none": Listing(q="no such text", type=TYPES[3], limit=100),
}
ROUNDS: Final = 20
LOOKUPS: Final = 20_000


def main() -> int:
    """Measure, print, and fail where a page took longer than it may."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.view", description=__doc__)
    parser.add_argument("--tasks", type=int, default=5_000_000)
    parser.add_argument("--longest-ms", type=float, default=50.0, help="median of a page that still passes")
    parser.add_argument("--folder", type=Path, help="keeps the file there; default: a temporary folder")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="laneway-view-", dir=options.folder) as folder:
        small = _measured(Path(folder, "small.db"), 5_000)
        large = _measured(Path(folder, "large.db"), options.tasks)
    _tell(f"lookups of {options.tasks:,} tasks take {large['lookup'] / small['lookup']:.2f} of those of 5,000")
    slow = {name: took for name, took in large.items() if name in LISTINGS and took > options.longest_ms}
    for name, took in slow.items():
        _tell(f"too slow: {name}: {took:.1f} ms")
    return 1 if slow else 0


def _measured(path: Path, tasks: int) -> dict[str, float]:
    """Median milliseconds by question."""
    store = ViewStore(path, "bench/view", 4)
    began = time.perf_counter()
    ids = fill(store, tasks)
    took = time.perf_counter() - began
    _tell(f"{tasks:,} tasks taken in at {tasks / took:,.0f}/s, file {path.stat().st_size / 1e6:,.0f} MB")
    store.close()
    figures: dict[str, float] = {}
    with closing(schema.connect(path, read_only=True)) as connection:
        figures["lookup"] = 1e3 * _seconds_of(lambda: _look_up(path, ids)) / LOOKUPS
        _tell(f"  look-up by id {figures['lookup'] * 1e3:.1f} us")
        for name, listing in LISTINGS.items():
            page = read_page(connection, listing)
            times = sorted(_seconds_of(lambda: _page(path, listing)) * 1e3 for _ in range(ROUNDS))  # noqa: B023
            figures[name] = statistics.median(times)
            more = "goes on" if page.cursor else "ends"
            _tell(f"  {name:24} {figures[name]:7.2f} ms, at most {times[-1]:7.2f}; {len(page.documents)} tasks, {more}")
    return figures


def _tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _page(path: Path, listing: Listing) -> None:
    # As the API does it: a connection for each page.
    with closing(schema.connect(path, read_only=True)) as connection:
        read_page(connection, listing)


def _look_up(path: Path, ids: list[str]) -> None:
    with closing(schema.connect(path, read_only=True)) as connection:
        for place in range(LOOKUPS):
            task_id = ids[place * 7919 % len(ids)]
            assert connection.execute("SELECT document FROM tasks WHERE id = ?", (task_id,)).fetchone() is not None


def _seconds_of(work: Callable[[], None]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


if __name__ == "__main__":
    sys.exit(main())
