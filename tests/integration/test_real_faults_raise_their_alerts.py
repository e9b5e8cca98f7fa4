"""Every alert fires in a system in which its reason is caused for real, and falls silent once that is healed.

Durations and waits of the alerts are twenty times shorter than those that are shipped; nothing else differs.
"""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final

import httpx
import pytest
import yaml

from laneway import AsyncClient
from schemas.settings import ApiSettings, KafkaSettings, Settings, WorkerSettings
from tests.support.alert_handlers import CRUSHED, ORE
from tests.support.api import RunningApi, free_port, running_api
from tests.support.chaos.cluster import StruckCluster, running_cluster
from tests.support.fleets import worker_processes
from tests.support.prometheus import RULES, RunningPrometheus, hastened, programs, running_prometheus
from tests.support.stacks import descendants
from tests.support.waiting import eventually
from tests.support.workers import RunningWorker, running_worker

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

MODULE: Final = "tests.support.alert_handlers"
HASTE: Final = 20


class Raised:
    """Waits for alerts, and keeps how long each took to fire."""

    def __init__(self, prometheus: RunningPrometheus) -> None:
        self.prometheus = prometheus
        self.after: dict[str, float] = {}

    async def by(self, *alerts: str, within: float, **labels: str) -> None:
        """Wait until all of these fire, each with these labels."""
        began = time.monotonic()

        async def fires() -> bool:
            firing = await asyncio.to_thread(self.prometheus.firing)
            for name in alerts:
                if any(each.items() >= labels.items() for each in firing.get(name, [])):
                    self.after.setdefault(name, round(time.monotonic() - began, 1))
            assert set(alerts) <= self.after.keys(), f"missing of {alerts}; firing: {firing}"
            return True

        await eventually(fires, within=within)

    async def scraped(self, *, within: float) -> None:
        """Wait until both kinds of process have been scraped twice: growth is seen from then on."""

        async def twice() -> bool:
            for metric in ("laneway_dead_letters_total", "laneway_api_producer_errors_total"):
                found = await asyncio.to_thread(self.prometheus.query, f"min(count_over_time({metric}[5m])) > 1")
                assert found, metric
            return True

        await eventually(twice, within=within)

    async def silent(self, *alerts: str, within: float) -> None:
        """Wait until none of these fires; without names, until nothing does."""

        async def quiet() -> bool:
            firing = await asyncio.to_thread(self.prometheus.firing)
            assert not (firing.keys() & set(alerts) if alerts else firing), firing
            return True

        await eventually(quiet, within=within)


async def test_each_of_them(tmp_path: Path) -> None:
    programs()
    rules = tmp_path / "rules.yml"
    rules.write_text(hastened(RULES, HASTE))
    with running_cluster(tmp_path / "kafka", brokers=1) as cluster:
        settings = Settings(
            data_dir=tmp_path / "data",
            kafka=KafkaSettings(bootstrap_servers=cluster.bootstrap_servers, partitions=2, delivery_timeout=3.0),
            api=ApiSettings(port=0, accept_timeout=2.0),
            worker=WorkerSettings(
                drain_timeout=2.0,
                session_timeout=6.0,
                commit_interval=0.2,
                dead_letter_budget=20,
                metrics_port=free_port(),
            ),
        )
        with running_api(settings, tmp_path / "api.log", ORE, CRUSHED, module=MODULE) as api:
            targets = {
                "laneway-api": [api.address.removeprefix("http://")],
                "laneway-worker": [f"127.0.0.1:{settings.worker.metrics_port}"],
            }
            with (
                running_prometheus(tmp_path, targets, rules, every="2s") as prometheus,
                running_worker(settings, tmp_path / "worker.log", ORE, CRUSHED, module=MODULE) as worker,
            ):
                await api.ready()
                await worker.ready()
                raised = Raised(prometheus)
                async with AsyncClient(api.address) as client:
                    await raised.scraped(within=60)
                    await raised.silent(within=60)
                    await _dead_letters(client, raised)
                    await _a_turn_that_does_not_come(client, raised)
                    await _blocked_loops(client, raised)
                    await _a_view_behind(client, api, raised)
                    await _deaths(worker, raised)
                    await _a_broker_that_stands_still(client, api, worker, cluster, tmp_path / "gate", raised)
                    await raised.silent(within=150)
                    assert worker.stop() == 0
                    await client.submit(ORE, {}, priority="high")
                    await raised.by("LanewayNoWorker", within=60, type=ORE, priority="high")
                    await raised.by("LanewayTargetDown", within=60, job="laneway-worker")
                    with running_worker(settings, tmp_path / "second.log", ORE, CRUSHED, module=MODULE) as second:
                        await second.ready()
                        await raised.silent(within=90)
    assert raised.after.keys() == {
        rule["alert"] for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]
    }
    print(f"seconds from cause to alert, durations divided by {HASTE}: {raised.after}")  # noqa: T201


async def _dead_letters(client: AsyncClient, raised: Raised) -> None:
    """A bad deploy: the lane pours into its dead letters, and is held."""
    for _ in range(40):
        await client.submit(ORE, {"do": "reject"}, priority="low")
    await raised.by("LanewayBudgetStoppedLane", within=30, type=ORE, priority="low")
    await raised.by("LanewayDeadLetters", within=30, type=ORE)
    await client.resume(ORE, "low")
    await raised.silent("LanewayBudgetStoppedLane", within=30)


async def _a_turn_that_does_not_come(client: AsyncClient, raised: Raised) -> None:
    """A task waits for its ordering key, whose task before it was put off for long."""
    first = await client.submit(ORE, {"do": "later", "seconds": 300}, ordering_key="seam")
    second = await client.submit(ORE, {}, ordering_key="seam")
    await raised.by("LanewayLaneStandsStill", "LanewayLaneTooOld", within=120, type=ORE, priority="normal")
    for task in (first, second):
        await client.cancel(task.id)
    await raised.silent("LanewayLaneStandsStill", "LanewayLaneTooOld", within=30)


async def _blocked_loops(client: AsyncClient, raised: Raised) -> None:
    """A handler blocks the loop that it runs on; others keep the interpreter from the worker's own."""
    await client.submit(ORE, {"do": "block", "seconds": 4})
    await raised.by("LanewayLoopBlocked", within=30)
    async with _endlessly(client, 8):
        await raised.by("LanewayLoopSlow", within=90)
    await raised.silent("LanewayLoopSlow", within=60)


@asynccontextmanager
async def _endlessly(client: AsyncClient, side_by_side: int) -> AsyncIterator[None]:
    """So many tasks that hold the interpreter run at once for as long as the block does."""

    async def again_and_again() -> None:
        while True:
            task = await client.submit(CRUSHED, {"size": 30_000_000})
            await client.wait(task.id)

    going = [asyncio.create_task(again_and_again()) for _ in range(side_by_side)]
    try:
        yield
        assert not any(each.done() for each in going), [each.exception() for each in going if each.done()]
    finally:
        for each in going:
            each.cancel()
        await asyncio.gather(*going, return_exceptions=True)


async def _a_view_behind(client: AsyncClient, api: RunningApi, raised: Raised) -> None:
    (materialiser,) = [pid for pid, command in descendants(api.process.pid).items() if "ingest.view" in command]
    await client.pause(ORE, "low", reason="a test")
    async with httpx.AsyncClient(base_url=api.address, timeout=30) as plain:
        with _standing_still(materialiser):
            tasks = [{"type": ORE, "payload": {}, "priority": "low"}] * 6000
            accepted = await plain.post("/api/tasks/batch", json=tasks)
            assert accepted.status_code == httpx.codes.ACCEPTED
            await raised.by("LanewayViewBehind", within=60)
    await client.resume(ORE, "low")
    await raised.silent("LanewayViewBehind", within=60)


@contextmanager
def _standing_still(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


async def _deaths(worker: RunningWorker, raised: Raised) -> None:
    """A worker process dies as often as it is started."""
    killed: set[int] = set()
    for _ in range(4):

        def another() -> int | None:
            return next(iter(set(worker_processes(worker)) - killed), None)

        pid = await eventually(another, within=30)
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        killed.add(pid)
    await raised.by("LanewayWorkerRestarts", within=30)
    await raised.silent("LanewayWorkerDown", within=60)


async def _a_broker_that_stands_still(
    client: AsyncClient,
    api: RunningApi,
    worker: RunningWorker,
    cluster: StruckCluster,
    gate: Path,
    raised: Raised,
) -> None:
    """Nothing that is appended is acknowledged; what is due cannot be moved; a worker that starts does not come up."""
    waits = await client.submit(ORE, {"do": "wait", "until": str(gate)}, priority="high")
    running = asyncio.create_task(_refused_again_and_again(api))

    async def runs() -> bool:
        return (await client.get(waits.id)).state == "running"

    await eventually(runs, within=60)
    due = await client.submit(ORE, {}, priority="high", delay=20)
    await asyncio.to_thread(_known_to_timers, raised.prometheus)
    (broker,) = cluster.kafka.pids.values()
    try:
        with _standing_still(broker):
            await asyncio.to_thread(gate.touch)
            await raised.by("LanewayProducerErrors", within=30)
            await raised.by("LanewayTimersLate", within=60)
            await raised.by("LanewayApiErrors", "LanewayApiNotReady", "LanewayLanesUnknown", within=60)
            (process,) = worker_processes(worker)
            os.kill(process, signal.SIGKILL)
            await raised.by("LanewayWorkerDown", within=60)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    for task in (waits, due):
        await client.wait(task.id)


def _known_to_timers(prometheus: RunningPrometheus) -> None:
    """Return once the waiting task is on its topic, where a worker's timers have it within a tenth of a second."""
    deadline = time.monotonic() + 30
    while not any(number for _, number in prometheus.query("sum(laneway_timers_waiting)")):
        assert time.monotonic() < deadline
        time.sleep(0.1)


async def _refused_again_and_again(api: RunningApi) -> None:
    async with httpx.AsyncClient(base_url=api.address, timeout=30) as plain:
        while True:
            await plain.post("/api/tasks", json={"type": ORE, "payload": {}, "priority": "high"})
            await asyncio.sleep(0.5)
