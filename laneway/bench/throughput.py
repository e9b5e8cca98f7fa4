"""Tasks end to end, by the thousand."""

import time
from collections.abc import Iterator
from typing import Final

from laneway.bench.measuring import Bench, Figures
from laneway.bench.submit import submit, until_final

_LAST: Final = 20


def throughput(bench: Bench, kind: str) -> Iterator[Figures]:
    """``kind`` tasks: from the first submission until every result is stored and the API tells the last ones."""
    plan, type_name = bench.plan, f"bench.{kind}"
    with bench.system(type_name) as system:
        for _ in range(plan.runs):
            with system.log.outcomes(type_name) as outcomes:
                meter = bench.meter(system)
                began = time.monotonic()
                ids = submit(system.url, type_name, plan.tasks)
                submitted = time.monotonic()
                outcomes.until(set(ids), plan.patience)
                stored = time.monotonic()
                until_final(system.url, [*ids[-_LAST:], *list(outcomes.by_id)[-_LAST:]], plan.patience)
                told = time.monotonic()
                figures = meter.figures(plan.tasks)
            yield {
                "tasks_per_s": round(plan.tasks / (told - began), 1),
                "enqueued_per_s": round(plan.tasks / (submitted - began), 1),
                "view_behind_ms": round((told - stored) * 1000, 1),
                "repeated": outcomes.repeated,
                **figures,
            }
            system.require_alive()


def sleepers(bench: Bench) -> Iterator[Figures]:
    """Tasks of 1 s on one partition, with a slot for each: seconds until all are done."""
    plan = bench.plan
    with bench.special_system(["bench.sleep"], workers=1, concurrency=plan.sleepers, partitions=1) as system:
        for _ in range(plan.runs):
            with system.log.outcomes("bench.sleep") as outcomes:
                meter = bench.meter(system)
                began = time.monotonic()
                ids = submit(system.url, "bench.sleep", plan.sleepers)
                outcomes.until(set(ids), plan.patience)
                seconds = time.monotonic() - began
                figures = meter.figures(plan.sleepers)
            yield {"seconds": round(seconds, 3), **figures}
