"""How long one task takes: on a quiet system, and on one that is flooded."""

import asyncio
import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import pairwise
from typing import Final, NamedTuple

from laneway import AsyncClient
from laneway.bench.log import Ended, Outcomes
from laneway.bench.measuring import Bench, Figures, milliseconds
from laneway.bench.submit import submit
from schemas.errors import BenchmarkError

_WARM_UP: Final = 60
"""Tasks one after another: enough that each partition of a new lane has its first index entry, which waits for the
disk."""
_MIDDLE: Final = 0.9
"""The share of ``high`` outcomes after which ``saturated`` looks no further: lanes may run dry then."""


class Sample(NamedTuple):
    """One task as its submitter saw it, by the monotonic clock."""

    id: str
    due_at: float
    """When it was to be submitted: a submission that is held up counts as waiting."""
    accepted_at: float
    final_at: float
    """When the library told its final status."""


async def _one(client: AsyncClient, type_name: str, priority: str, due_at: float, within: timedelta) -> Sample:
    accepted = await client.submit(type_name, {"x": 1}, priority=priority)
    accepted_at = time.monotonic()
    final = await client.wait(accepted.id, within)
    if final.state != "succeeded":
        raise BenchmarkError(f"task {final.id} ended {final.state}")
    return Sample(final.id, due_at, accepted_at, time.monotonic())


async def open_loop(bench: Bench, url: str, type_name: str, priority: str, rate: float, seconds: float) -> list[Sample]:
    """Submit at a fixed rate, whether earlier ones are done or not."""
    within = timedelta(seconds=bench.plan.patience)
    async with AsyncClient(url) as client:
        for _ in range(_WARM_UP):
            await _one(client, type_name, priority, time.monotonic(), within)
        with _no_garbage_collected():
            began = time.monotonic()
            tasks = []
            for number in range(max(1, int(rate * seconds))):
                due_at = began + number / rate
                await asyncio.sleep(due_at - time.monotonic())
                tasks.append(asyncio.create_task(_one(client, type_name, priority, due_at, within)))
            return list(await asyncio.gather(*tasks))


@contextmanager
def _no_garbage_collected() -> Iterator[None]:
    """Tens of thousands of outcomes that the benchmark itself has gathered by then are not looked through meanwhile."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def told(samples: list[Sample], outcomes: Outcomes, patience: float) -> Figures:
    """The times of some tasks, once the log has told the outcome of each."""
    outcomes.until({sample.id for sample in samples}, patience)
    return {
        **milliseconds([sample.final_at - sample.due_at for sample in samples], "library"),
        **milliseconds([outcomes.by_id[sample.id].seen_at - sample.due_at for sample in samples], "outcome"),
        **milliseconds([sample.accepted_at - sample.due_at for sample in samples], "accepted"),
    }


def latency(bench: Bench) -> Iterator[Figures]:
    """Submit to result on a system with little to do."""
    plan = bench.plan
    with bench.system("bench.noop") as system:
        for _ in range(plan.runs):
            with system.log.outcomes("bench.noop") as outcomes:
                meter = bench.meter(system)
                samples = asyncio.run(
                    open_loop(bench, system.url, "bench.noop", "normal", plan.latency_rate, plan.latency_seconds)
                )
                yield {**told(samples, outcomes, plan.patience), **meter.figures(len(samples))}


def priority(bench: Bench, *, dedicated: bool = False) -> Iterator[Figures]:
    """``high`` tasks at a low rate while the cores are full of ``low`` ones that use 1 ms of CPU.

    Args:
        bench: that measures.
        dedicated: whether ``high`` has a further worker process of its own.
    """
    plan = bench.plan
    for _ in range(plan.runs):
        started = bench.system("bench.cpu", dedicated=dedicated)
        with started as system, system.log.outcomes("bench.cpu") as outcomes:
            meter = bench.meter(system)
            submit(system.url, "bench.cpu", plan.flood, priority="low")
            # The view follows the submission for a moment: what that takes is not the tasks' speed.
            time.sleep(plan.flood_settle_seconds)
            alone = _rate(outcomes, plan.alone_seconds)
            left = plan.flood - len(outcomes)
            before, began = _low(outcomes), time.monotonic()
            samples = asyncio.run(open_loop(bench, system.url, "bench.cpu", "high", plan.high_rate, plan.high_seconds))
            beside = (_low(outcomes) - before) / (time.monotonic() - began)
            figures = meter.figures(len(outcomes))
            yield {
                **told(samples, outcomes, plan.patience),
                "low_waiting_at_first": left,
                "low_waiting_at_last": plan.flood - _low(outcomes),
                "low_alone_per_s": round(alone, 1),
                "low_beside_high_per_s": round(beside, 1),
                "low_kept_percent": round(100 * beside / alone, 1) if alone else 0.0,
                **figures,
            }


def _rate(outcomes: Outcomes, seconds: float) -> float:
    before, began = _low(outcomes), time.monotonic()
    time.sleep(seconds)
    return (_low(outcomes) - before) / (time.monotonic() - began)


def _low(outcomes: Outcomes) -> int:
    return sum(ended.priority == "low" for ended in outcomes.ended())


def saturated(bench: Bench) -> Iterator[Figures]:
    """As many ``high`` tasks as ``low`` ones, all waiting: what ``low`` gets, and how long its head stands."""
    plan = bench.plan
    for _ in range(plan.runs):
        with bench.system("bench.cpu") as system, system.log.outcomes("bench.cpu") as outcomes:
            meter = bench.meter(system)
            low = submit(system.url, "bench.cpu", plan.saturated, priority="low")
            high = submit(system.url, "bench.cpu", plan.saturated, priority="high")
            both_wait_from = time.monotonic()
            outcomes.until({*low, *high}, plan.patience)
            figures = meter.figures(2 * plan.saturated)
            yield {**shares(outcomes.ended(), both_wait_from), **figures}


def shares(ended: list[Ended], since: float) -> Figures:
    """What ``low`` got while both lanes had tasks waiting."""
    highs = sorted(each.seen_at for each in ended if each.priority == "high" and each.seen_at >= since)
    until = highs[int(len(highs) * _MIDDLE) - 1] if highs else since
    window = [each for each in ended if since <= each.seen_at <= until]
    low = [each for each in window if each.priority == "low"]
    starts: dict[str, list[float]] = {}
    for each in low:
        if each.started_at is not None:
            starts.setdefault(each.worker or "", []).append(each.started_at.timestamp())
    gaps = [later - earlier for times in starts.values() for earlier, later in pairwise(sorted(times))]
    return {
        "low_share_percent": round(100 * len(low) / len(window), 1) if window else 0.0,
        "low_head_longest_wait_ms": round(max(gaps, default=0.0) * 1000, 1),
        "window_seconds": round(until - since, 2),
        "tasks_in_window": len(window),
    }
