"""What is measured, how often and how large."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Self

if TYPE_CHECKING:
    from schemas.settings import Settings

SECTIONS: Final = (
    "noop",
    "cpu",
    "wait",
    "accept",
    "batch",
    "latency",
    "priority",
    "dedicated",
    "saturated",
    "status",
    "memory",
    "sleepers",
    "waiting",
)
PARTITIONS: Final = 4
"""Of each topic, unless somebody chose another number: as `laneway up` has it."""


@dataclass(frozen=True, kw_only=True)
class BenchPlan:
    """The sizes of a benchmark; every one of them is a premise of its figures."""

    settings: "Settings"
    only: Sequence[str] = SECTIONS
    runs: int = 3
    tasks: int = 20_000
    """Of ``noop``, ``cpu`` and ``wait``."""
    warm_up: int = 200
    """Tasks of each type that a fresh system runs before it is measured."""
    workers: int = 2
    concurrency: int = 100
    """Slots of each type in each worker."""
    partitions: int = PARTITIONS
    connections: int = 64
    load_seconds: float = 10.0
    """How long ``accept``, ``batch`` and ``status`` take."""
    batch: int = 100
    """Tasks in a request of ``batch``."""
    latency_rate: float = 50.0
    latency_seconds: float = 20.0
    flood: int = 40_000
    """``low`` tasks that wait in ``priority``: enough to outlast it."""
    flood_settle_seconds: float = 2.0
    """Between its submission and the first look at it."""
    alone_seconds: float = 8.0
    """How long ``low`` is watched alone before ``high`` comes."""
    high_rate: float = 20.0
    high_seconds: float = 15.0
    saturated: int = 10_000
    """``high`` tasks, and as many ``low`` ones, of ``saturated``."""
    queued: int = 200_000
    """Tasks that lie in the queue in ``memory``."""
    settle_seconds: float = 35.0
    drain_seconds: float = 12.0
    sleepers: int = 200
    waiting: int = 1_000_000
    """Tasks that wait for tomorrow in ``waiting``."""
    looked_before_seconds: float = 1.0
    """How long the machine is looked at before a run, for what else is at work on it."""
    share_system: bool = False
    """Whether sections share one system. Not where figures count: what one leaves behind is not the next one's."""
    patience: float = 300.0
    """Seconds after which what is waited for is given up."""

    def changed(self, **sizes: Any) -> Self:
        """The same with other sizes; ``None`` leaves one as it is."""
        return replace(self, **{name: size for name, size in sizes.items() if size is not None})

    def quick(self) -> "BenchPlan":
        """The same, so small that each section is over in seconds: shows that it runs, says nothing of speed."""
        return replace(
            self,
            runs=1,
            tasks=min(self.tasks, 300),
            warm_up=20,
            connections=8,
            load_seconds=1.0,
            latency_seconds=1.0,
            flood=600,
            flood_settle_seconds=0.1,
            alone_seconds=0.2,
            high_seconds=0.5,
            saturated=200,
            queued=2_000,
            settle_seconds=0.2,
            drain_seconds=0.5,
            sleepers=20,
            waiting=2_000,
            looked_before_seconds=0.1,
            share_system=True,
            patience=60.0,
        )
