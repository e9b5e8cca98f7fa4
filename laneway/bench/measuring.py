"""What the sections share: systems to measure, and meters beside each run."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Final

from laneway.bench import machine
from laneway.bench.plan import BenchPlan
from laneway.bench.submit import submit, until_final
from laneway.bench.system import Cluster, System, running

Figures = dict[str, Any]
"""What one run gave: numbers, or groups of numbers by name."""

_SHARED_TYPES: Final = ("bench.noop", "bench.cpu", "bench.wait")


class Meter:
    """CPU time and foreign load of one run, from its making on."""

    def __init__(self, system: System, busy_before: float | None) -> None:
        self._busy_before = busy_before
        # What loads and reads the system shares its cores: it is told, too.
        self._cpu = machine.CpuMeter({**system.groups(), "bench": [os.getpid()]})

    def figures(self, tasks: float) -> Figures:
        """CPU by process for each of ``tasks``, and what else the machine was busy with."""
        # Asked first: the answer to it uses CPU itself.
        foreign = self._cpu.foreign_percent()
        used = self._cpu.seconds() if foreign is not None else {}
        found: Figures = {
            "cpu_us_per_task": {name: round(seconds / tasks * 1e6, 1) for name, seconds in used.items()}
            if tasks
            else {}
        }
        if self._busy_before is not None:
            found["busy_before_percent"] = self._busy_before
        if foreign is not None:
            found["foreign_percent"] = foreign
        return found


class Bench:
    """One benchmark under way.

    Args:
        plan: the sizes.
        cluster: a started one.
        progress: hears what is going on.
    """

    def __init__(self, plan: BenchPlan, cluster: Cluster, progress: Callable[[str], None]) -> None:
        self.plan = plan
        self.progress = progress
        self._cluster = cluster
        self._open = ExitStack()
        self._shared: System | None = None

    @contextmanager
    def system(self, *types: str, dedicated: bool = False) -> Iterator[System]:
        """A warm system whose workers run these types, for as long as the block runs; a fresh one unless shared.

        One where ``high`` has a further worker of its own is never shared.
        """
        plan = self.plan
        if dedicated or not plan.share_system:
            with self.special_system(
                types, workers=plan.workers, concurrency=plan.concurrency, dedicated=dedicated
            ) as fresh:
                yield fresh
            return
        if self._shared is None:
            shared = self.special_system(_SHARED_TYPES, workers=plan.workers, concurrency=plan.concurrency)
            self._shared = self._open.enter_context(shared)
        self._shared.require_alive()
        yield self._shared

    @contextmanager
    def special_system(
        self,
        types: Sequence[str],
        *,
        workers: int,
        concurrency: int,
        partitions: int | None = None,
        dedicated: bool = False,
    ) -> Iterator[System]:
        """A fresh and warm system of other sizes than the plan's, for as long as the block runs."""
        system = System(
            self._cluster,
            types=types,
            workers=workers,
            concurrency=concurrency,
            partitions=partitions or self.plan.partitions,
            dedicated=dedicated,
        )
        with running(system):
            with system.log.outcomes(*types) as outcomes:
                ids = [task_id for name in types for task_id in submit(system.url, name, self.plan.warm_up)]
                outcomes.until(set(ids), self.plan.patience)
            until_final(system.url, ids[-1:], self.plan.patience)
            yield system

    def close(self) -> None:
        """Stop the shared system, if there is one."""
        self._open.close()

    def meter(self, system: System) -> Meter:
        """Begin to measure beside a run.

        Blocking: for as long as the machine is looked at beforehand.
        """
        return Meter(system, machine.busy_percent(self.plan.looked_before_seconds))


def percentile(values: Sequence[float], share: float) -> float:
    """The value that this share of ``values`` does not exceed; 0 where there are none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


def milliseconds(seconds: Sequence[float], name: str) -> Figures:
    """Median and 99th percentile, in milliseconds."""
    return {
        f"{name}_p50_ms": round(percentile(seconds, 0.5) * 1000, 2),
        f"{name}_p99_ms": round(percentile(seconds, 0.99) * 1000, 2),
    }
