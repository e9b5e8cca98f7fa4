"""What the API takes and answers under load, with the workers running."""

import time
from collections.abc import Iterator
from typing import Final

from laneway.bench import load
from laneway.bench.measuring import Bench, Figures
from laneway.bench.submit import batch_of, body_of, submit, until_final
from schemas.errors import BenchmarkError

_TYPE: Final = "bench.noop"
_READ: Final = 1000


def accept(bench: Bench) -> Iterator[Figures]:
    """One task in each request."""
    yield from _posted(bench, "/api/tasks", body_of(_TYPE, "normal"), 1)


def batch(bench: Bench) -> Iterator[Figures]:
    """Many tasks in each request."""
    size = bench.plan.batch
    yield from _posted(bench, "/api/tasks/batch", batch_of(body_of(_TYPE, "normal"), size), size)


def _posted(bench: Bench, path: str, body: bytes, tasks: int) -> Iterator[Figures]:
    plan = bench.plan
    for _ in range(plan.runs):
        # Fresh for each run: what the last one left in the queue would be worked on in this one.
        with bench.system(_TYPE) as system:
            meter = bench.meter(system)
            before, began = system.log.published(_TYPE), time.monotonic()
            seen = load.post(system.url, path, body, seconds=plan.load_seconds, connections=plan.connections)
            done, elapsed = system.log.published(_TYPE) - before, time.monotonic() - began
            figures = meter.figures(seen.requests * tasks)
            if seen.refused == seen.requests:
                raise BenchmarkError(f"the API refused all of {seen.requests} requests to {path}")
            yield {
                "accepted_per_s": round(seen.per_second * tasks, 1),
                "completed_per_s": round(done / elapsed, 1),
                **_told(seen),
                **figures,
            }


def status(bench: Bench) -> Iterator[Figures]:
    """Statuses of tasks that are done, read one by one."""
    plan = bench.plan
    with bench.system(_TYPE) as system:
        with system.log.outcomes(_TYPE) as outcomes:
            ids = submit(system.url, _TYPE, _READ)
            outcomes.until(set(ids), plan.patience)
        until_final(system.url, ids[-20:], plan.patience)
        paths = [f"/api/tasks/{task_id}" for task_id in ids]
        for _ in range(plan.runs):
            meter = bench.meter(system)
            seen = load.get(system.url, paths, seconds=plan.load_seconds, connections=plan.connections)
            yield {"reads_per_s": round(seen.per_second, 1), **_told(seen), **meter.figures(seen.requests)}


def _told(seen: load.Load) -> Figures:
    return {
        "p50_ms": round(seen.p50_ms, 2),
        "p99_ms": round(seen.p99_ms, 2),
        "refused": seen.refused,
        "broken": seen.broken,
    }
