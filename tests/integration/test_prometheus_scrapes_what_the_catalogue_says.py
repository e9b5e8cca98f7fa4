"""Prometheus gets every metric of the catalogue from an API and from a worker, and evaluates every alert."""

from pathlib import Path

import httpx
import pytest

from laneway import AsyncClient
from schemas.metrics import METRICS, Metric
from schemas.settings import Settings
from tests.support.api import free_port, running_api
from tests.support.prometheus import programs, running_prometheus
from tests.support.waiting import eventually
from tests.support.watched_handlers import FLAKY, STEPS
from tests.support.workers import running_worker

pytestmark = [pytest.mark.timeout(120), pytest.mark.long]

MODULE = "tests.support.watched_handlers"


async def test_from_both(settings: Settings, tmp_path: Path) -> None:
    programs()
    port = free_port()
    settings = settings.model_copy(update={"worker": settings.worker.model_copy(update={"metrics_port": port})})
    with (
        running_api(settings, tmp_path / "api.log", FLAKY, STEPS, module=MODULE) as api,
        running_worker(settings, tmp_path / "worker.log", FLAKY, STEPS, module=MODULE) as worker,
    ):
        await api.ready()
        await worker.ready()
        async with AsyncClient(api.address) as client:
            delayed = await client.submit(STEPS, {"percents": []}, delay=1.1)
            await client.wait(delayed.id)
            await client.submit(STEPS, {"percents": []}, delay=3600)
        targets = {"laneway-api": [api.address.removeprefix("http://")], "laneway-worker": [f"127.0.0.1:{port}"]}
        with running_prometheus(tmp_path, targets) as prometheus:

            async def every_metric() -> bool:
                missing = [metric.name for metric in METRICS if not prometheus.query(_present(metric))]
                assert not missing, missing
                assert [value for _, value in prometheus.query('laneway_timers_waiting{rung="1h"}')] == [1]
                return True

            await eventually(every_metric, within=30)
            assert {(each["health"], each["lastError"]) for each in prometheus.ask("targets")["activeTargets"]} == {
                ("up", "")
            }
            (((), ended),) = [
                (tuple(labels), value)
                for labels, value in prometheus.query(f'sum(laneway_tasks_ended_total{{type="{STEPS}"}})')
            ]
            assert ended == 1
            # As every series that this system can make is known, so is their number.
            assert {metric.name for metric in METRICS} == {
                _family(name) for name in prometheus.ask("label/__name__/values") if name.startswith("laneway_")
            }

            async def evaluated() -> bool:
                rules = [rule for group in prometheus.ask("rules")["groups"] for rule in group["rules"]]
                assert {(rule["health"], rule.get("lastError")) for rule in rules} == {("ok", None)}, rules
                return True

            await eventually(evaluated, within=20)
    async with httpx.AsyncClient() as gone:
        with pytest.raises(httpx.TransportError):
            await gone.get(f"http://127.0.0.1:{port}/metrics")


def _present(metric: Metric) -> str:
    return f"count({metric.name}{'_count' if metric.kind == 'histogram' else ''})"


def _family(series: str) -> str:
    histograms = {metric.name for metric in METRICS if metric.kind == "histogram"}
    return next(
        (name for name in histograms if series in {f"{name}{part}" for part in ("_bucket", "_count", "_sum")}), series
    )
