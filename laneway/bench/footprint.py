"""Memory of every process, with an empty queue and a full one."""

import time
from collections.abc import Iterator

from laneway.bench.machine import memory
from laneway.bench.measuring import Bench, Figures
from laneway.bench.submit import submit
from laneway.bench.system import System


def footprint(bench: Bench) -> Iterator[Figures]:
    """Resident memory idle, with tasks queued, a while after, and while they are worked off."""
    plan = bench.plan
    with bench.system("bench.noop") as system:
        idle = taken(system)
        system.stop_workers()
        began = time.monotonic()
        submit(system.url, "bench.noop", plan.queued, priority="low")
        filled = time.monotonic() - began
        queued = taken(system)
        time.sleep(plan.settle_seconds)
        settled = taken(system)
        before = system.log.published("bench.noop")
        system.start_workers()
        time.sleep(plan.drain_seconds)
        draining = taken(system)
        stages = {"idle": idle, "queued": queued, "settled": settled, "draining": draining}
        growth = {part: round(settled[part]["rss_mb"] - idle[part]["rss_mb"], 1) for part in settled if part in idle}
        if "workers" in draining:
            growth["workers"] = round(draining["workers"]["rss_mb"] - idle["workers"]["rss_mb"], 1)
        yield {
            **{
                f"{stage}_{unit}": {part: told[unit] for part, told in parts.items()}
                for stage, parts in stages.items()
                for unit in ("rss_mb", "pss_mb")
            },
            "growth_mb": growth,
            "queued": plan.queued,
            "queued_per_s": round(plan.queued / filled, 1),
            "done_while_draining": system.log.published("bench.noop") - before,
        }


def taken(system: System) -> dict[str, dict[str, float]]:
    """Resident and proportional memory of each part, in megabytes."""
    found: dict[str, dict[str, float]] = {}
    for part, pids in system.groups().items():
        told = memory(pids)
        found[part] = {"rss_mb": told.rss_mb, "pss_mb": told.pss_mb}
    return found
