"""Tasks that wait, and how late they start."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import ceil, inf
from pathlib import Path
from random import Random
from typing import Any, Final

import httpx

from tests.support.due_handlers import DUE, OTHER
from tests.support.waiting import eventually

_BATCH: Final = 100
_OTHERS_AT_ONCE: Final = 25
_OTHERS_EVERY: Final = 0.1


@dataclass
class DueTasks:
    """Tasks that are due at random times, the ledger that their handlers write, and its judge."""

    ledger: Path
    random: Random
    due: dict[int, float] = field(default_factory=dict)
    """By number, when a task should start (seconds since the epoch): once it is due, or accepted if that is later."""
    asked: dict[int, float] = field(default_factory=dict)
    """By number, the due time that was asked for."""

    async def submit(self, client: httpx.AsyncClient, count: int, *, longest: float) -> None:
        """Have so many tasks accepted, due after 0.1 s to ``longest`` seconds each."""
        for first in range(0, count, _BATCH):
            numbers = range(len(self.asked), len(self.asked) + min(_BATCH, count - first))
            now = time.time()
            for number in numbers:
                self.asked[number] = now + self.random.uniform(0.1, longest)
            answer = await client.post("/api/tasks/batch", json=[self._task(number) for number in numbers])
            assert answer.status_code == httpx.codes.ACCEPTED, answer.text
            accepted = time.time()
            self.due.update({number: max(accepted, self.asked[number]) for number in numbers})

    def _task(self, number: int) -> dict[str, Any]:
        at = datetime.fromtimestamp(self.asked[number], UTC)
        # As the wire has it: microseconds.
        self.asked[number] = at.timestamp()
        return {"type": DUE, "payload": {"path": str(self.ledger), "number": number}, "run_at": at.isoformat()}

    def starts(self) -> Counter[int]:
        """How often each task started."""
        return Counter(number for number, _ in self._lines())

    async def all_started(self, *, within: float) -> None:
        """Wait until each of them did."""

        def started() -> bool:
            left = len(self.asked) - len(self.starts())
            assert not left, f"{left} of {len(self.asked)} have not started"
            return True

        await eventually(started, within=within)

    def early(self) -> list[float]:
        """Seconds by which tasks started before they were due."""
        return [self.asked[number] - at for number, at in self._lines() if at < self.asked[number]]

    def lateness(self, since: float = -inf, until: float = inf, *, back_at: float = -inf) -> "Lateness":
        """How late those started that were due in a stretch of time; from ``back_at`` on, where that is later."""
        first: dict[int, float] = {}
        for number, at in self._lines():
            first[number] = min(at, first.get(number, at))
        return Lateness(
            sorted(
                at - max(self.due[number], back_at) for number, at in first.items() if since <= self.due[number] < until
            )
        )

    def _lines(self) -> list[tuple[int, float]]:
        if not self.ledger.exists():
            return []
        lines = [line.split() for line in self.ledger.read_text("ascii").splitlines(keepends=True) if line[-1] == "\n"]
        return [(int(number), int(at) / 1e9) for number, at in lines]


@dataclass
class Lateness:
    """Seconds from when tasks should have started to when they did, shortest first."""

    seconds: list[float]

    def quantile(self, share: float) -> float:
        """What ``share`` of them did not exceed."""
        return self.seconds[max(0, ceil(len(self.seconds) * share) - 1)]

    def __str__(self) -> str:
        if not self.seconds:
            return "no task"
        shown = ", ".join(f"p{share * 100:g} {self.quantile(share) * 1000:.1f} ms" for share in (0.5, 0.9, 0.99, 1))
        return f"{len(self.seconds)} tasks started late by: {shown}"


@asynccontextmanager
async def others_running(client: httpx.AsyncClient) -> AsyncIterator[None]:
    """While the block runs, 250 tasks a second of another type come in, as far as there is an API to take them."""

    async def submit() -> None:
        while True:
            with contextlib.suppress(httpx.TransportError):
                await client.post("/api/tasks/batch", json=[{"type": OTHER, "payload": {}}] * _OTHERS_AT_ONCE)
            await asyncio.sleep(_OTHERS_EVERY)

    running = asyncio.create_task(submit())
    try:
        yield
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
