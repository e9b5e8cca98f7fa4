"""A seeded storm of faults over a running system."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from random import Random
from typing import Final

from tests.support.chaos.processes import StruckApi, StruckWorker
from tests.support.chaos.trial import Trial

log = logging.getLogger(__name__)

MOST_WORKERS: Final = 4
FEWEST_WORKERS: Final = 1
CALM: Final = (3.0, 9.0)
"""Seconds between the end of a fault and the next."""


class Storm:
    """Strikes workers, the API and brokers, one fault after the other, chosen by the seed.

    Every fault is healed before the next but for the number of workers, which wanders between one and four.
    """

    def __init__(self, trial: Trial, api: StruckApi, rng: Random, *, say: Callable[[str], None]) -> None:
        self.api = api
        self.workers: list[StruckWorker] = []
        self._trial = trial
        self._rng = rng
        self._say = say
        self._beyond_session = trial.settings.worker.session_timeout * 2
        faults: list[tuple[Callable[[], Awaitable[None]], int]] = [
            (self._kill_worker, 4),
            (self._freeze_worker, 3),
            (self._roll_workers, 1),
            (self._scale, 3),
            (self._kill_api, 2),
            (self._kill_broker, 2),
            (self._freeze_broker, 2),
            (self._roll_brokers, 1),
        ]
        self._faults = [fault for fault, weight in faults for _ in range(weight)]

    async def begin(self, workers: int) -> None:
        """Start the first workers."""
        self.workers = [self._trial.start_worker() for _ in range(workers)]
        await asyncio.gather(*(worker.ready() for worker in self.workers))

    async def rage(self, until: float) -> None:
        """Strike until the loop's clock says ``until``; the fault under way is healed first."""
        loop = asyncio.get_running_loop()
        # Each kind once, in the seed's order, so that a short storm misses none; then as chance has it.
        kinds = list(dict.fromkeys(self._faults))
        self._rng.shuffle(kinds)
        while True:
            await asyncio.sleep(min(self._rng.uniform(*CALM), max(0.0, until - loop.time())))
            if loop.time() >= until:
                return
            fault = kinds.pop() if kinds else self._rng.choice(self._faults)
            self._say(fault.__name__.strip("_").replace("_", " "))
            await fault()
            self._bury()

    async def calm(self) -> None:
        """Make all well again: brokers run, the API is ready, two workers consume."""
        self._bury()
        while len(self.workers) < 2:
            self.workers.append(self._trial.start_worker())
        await asyncio.gather(self.api.ready(), *(worker.ready() for worker in self.workers))

    def _bury(self) -> None:
        """A worker that ended although nobody struck it is a finding of its own."""
        for worker in self.workers:
            if not worker.running:
                self._trial.faults.fired("worker_ended_by_itself", [worker.process.pid])
                self._say(f"a worker ended by itself with {worker.process.returncode}: {worker.log}")
        self.workers = [worker for worker in self.workers if worker.running]
        if not self.workers:
            self.workers = [self._trial.start_worker()]

    def _chosen(self) -> StruckWorker:
        return self._rng.choice(self.workers)

    async def _kill_worker(self) -> None:
        worker = self._chosen()
        worker.kill()
        self.workers.remove(worker)
        await asyncio.sleep(self._rng.uniform(0.0, 3.0))
        self.workers.append(self._trial.start_worker())

    async def _freeze_worker(self) -> None:
        with self._chosen().frozen():
            await asyncio.sleep(self._rng.uniform(1.2, 1.8) * self._beyond_session)

    async def _roll_workers(self) -> None:
        for worker in list(self.workers):
            self.workers.append(self._trial.start_worker())
            await asyncio.to_thread(worker.stop)
            self.workers.remove(worker)

    async def _scale(self) -> None:
        wanted = self._rng.choice([n for n in range(FEWEST_WORKERS, MOST_WORKERS + 1) if n != len(self.workers)])
        while len(self.workers) < wanted:
            self.workers.append(self._trial.start_worker())
        while len(self.workers) > wanted:
            worker = self._chosen()
            await asyncio.to_thread(worker.stop)
            self.workers.remove(worker)
        self._trial.faults.fired(f"scaled_to_{wanted}")

    async def _kill_api(self) -> None:
        self.api.kill()
        await asyncio.sleep(self._rng.uniform(0.0, 2.0))
        self.api = await self._trial.api(self.api.settings)

    async def _kill_broker(self) -> None:
        with_node = self._rng.choice(sorted(self._trial.cluster.kafka.pids))
        killed = self._trial.cluster.killed(self._trial.faults, with_node)
        await asyncio.to_thread(killed.__enter__)
        try:
            await asyncio.sleep(self._rng.uniform(2.0, 12.0))
        finally:
            await asyncio.to_thread(killed.__exit__, None, None, None)

    async def _freeze_broker(self) -> None:
        with self._trial.cluster.frozen(self._trial.faults, self._rng.choice(sorted(self._trial.cluster.kafka.pids))):
            await asyncio.sleep(self._rng.uniform(2.0, 2 * self._beyond_session))

    async def _roll_brokers(self) -> None:
        for number in sorted(self._trial.cluster.kafka.pids):
            stopped = self._trial.cluster.stopped(self._trial.faults, number)
            await asyncio.to_thread(stopped.__enter__)
            await asyncio.to_thread(stopped.__exit__, None, None, None)
