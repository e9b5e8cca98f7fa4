"""Tasks that wait for tomorrow: what they cost, and whether those that are due now feel them."""

import asyncio
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Final

from laneway import AsyncClient
from laneway.bench.footprint import taken
from laneway.bench.latency import open_loop, told
from laneway.bench.log import Outcomes
from laneway.bench.measuring import Bench, Figures, milliseconds
from laneway.bench.submit import submit
from laneway.bench.system import System

TOMORROW: Final = timedelta(hours=26)
SOON: Final = timedelta(seconds=2.5)
_TYPE: Final = "bench.noop"


def waiting(bench: Bench) -> Iterator[Figures]:
    """One worker: memory, its restart, and tasks that are due now or soon, without waiting tasks and with many."""
    plan = bench.plan
    with bench.special_system((_TYPE,), workers=1, concurrency=plan.concurrency) as system:
        alone = {"memory": _workers(system), **_due(bench, system)}
        began = time.monotonic()
        submit(system.url, _TYPE, plan.waiting, delay=TOMORROW)
        filled = time.monotonic() - began
        time.sleep(plan.settle_seconds)
        settled = _workers(system)
        meter = bench.meter(system)
        beside = _due(bench, system)
        used = meter.figures(plan.latency_rate * plan.latency_seconds)
        system.stop_workers()
        began = time.monotonic()
        system.start_workers()
        ready = time.monotonic() - began
        time.sleep(plan.settle_seconds)
        yield {
            "waiting": plan.waiting,
            "accepted_per_s": round(plan.waiting / filled, 1),
            "restart_seconds": round(ready, 2),
            "worker_rss_mb": {"alone": alone.pop("memory"), "beside": settled, "after_restart": _workers(system)},
            **{f"alone_{name}": value for name, value in alone.items()},
            **{f"beside_{name}": value for name, value in beside.items()},
            **{f"restarted_{name}": value for name, value in _due(bench, system).items()},
            **used,
        }


def _workers(system: System) -> float:
    return taken(system).get("workers", {}).get("rss_mb", 0.0)


def _due(bench: Bench, system: System) -> Figures:
    """Times of tasks that are due at once, and how late those start that are due soon."""
    plan = bench.plan
    with system.log.outcomes(_TYPE) as outcomes:
        samples = asyncio.run(open_loop(bench, system.url, _TYPE, "normal", plan.latency_rate, plan.latency_seconds))
        at_once = told(samples, outcomes, plan.patience)
        late = asyncio.run(_soon(bench, system.url, outcomes))
    return {name: at_once[name] for name in ("outcome_p50_ms", "outcome_p99_ms")} | milliseconds(late, "late")


async def _soon(bench: Bench, url: str, outcomes: Outcomes) -> list[float]:
    plan = bench.plan
    due = {}
    async with AsyncClient(url) as client:
        for _ in range(max(1, int(plan.latency_rate * plan.latency_seconds))):
            accepted = await client.submit(_TYPE, {"x": 1}, delay=SOON)
            due[accepted.id] = accepted.not_before
            await asyncio.sleep(1 / plan.latency_rate)
    await asyncio.to_thread(outcomes.until, set(due), plan.patience)
    return [
        (started - at).total_seconds()
        for task_id, at in due.items()
        if at is not None and (started := outcomes.by_id[task_id].started_at) is not None
    ]
