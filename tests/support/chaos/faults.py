"""What was done to the system on purpose: every fault, whether it fired, and whom it hit."""

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Fault:
    """One fault, from when it began to when it was healed."""

    kind: str
    began: float
    healed: float | None = None
    pids: tuple[int, ...] = ()
    """Processes of workers that it killed or froze: what they ran may run again."""

    def overlaps(self, begin: float, end: float) -> bool:
        """Whether it was on at any time of the span."""
        return self.began <= end and (self.healed is None or self.healed >= begin)


@dataclass
class FaultLog:
    """Every fault of a trial, in order."""

    faults: list[Fault] = field(default_factory=list)

    @property
    def counts(self) -> dict[str, int]:
        """How often each kind fired."""
        return dict(sorted(Counter(fault.kind for fault in self.faults).items()))

    def fired(self, kind: str, pids: Iterable[int] = (), *, over: bool = True) -> Fault:
        """A fault was seen to have struck; ``over`` when it lasts no longer than a moment, as a kill does."""
        now = time.time()
        fault = Fault(kind, now, now if over else None, tuple(pids))
        self.faults.append(fault)
        return fault

    @contextmanager
    def lasting(self, kind: str, pids: Iterable[int] = ()) -> Iterator[Fault]:
        """A fault that is on for as long as the block runs."""
        fault = self.fired(kind, pids, over=False)
        try:
            yield fault
        finally:
            fault.healed = time.time()

    def died(self, kind: str, pid: int, at: float) -> Fault:
        """A process was seen to have died of a fault at a moment in the past."""
        fault = Fault(kind, at, at, (pid,))
        self.faults.append(fault)
        return fault

    def excuses(self, pids: set[int], begin: float, end: float) -> bool:
        """Whether one of the processes, or a broker, was killed or frozen in the span: sessions end with theirs."""
        return any(
            (not pids.isdisjoint(fault.pids) or fault.kind.startswith("broker_")) and fault.overlaps(begin, end)
            for fault in self.faults
        )

    def healthy(self, begin: float, end: float) -> float:
        """Seconds of the span in which no fault was on."""
        spans = sorted((max(begin, f.began), min(end, f.healed or end)) for f in self.faults if f.overlaps(begin, end))
        ill, reached = 0.0, begin
        for start, stop in spans:
            if stop > reached:
                ill += stop - max(start, reached)
                reached = stop
        return end - begin - ill
