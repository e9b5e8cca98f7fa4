import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest

from laneway.stack.metrics import WorkerCollector
from laneway.stack.workers import Record
from schemas.metrics import METRICS, WORKER_METRICS
from schemas.task import Lane, Priority
from streams.counts import Counts
from streams.flight import Phase, Vitals
from streams.tally import read_tally
from tests.support.works import work

LANE = Lane("ore", Priority.HIGH)


def exposed(folder: Path, workers: int = 1) -> str:
    path = folder / "mill.tally"
    counts = Counts([LANE], path)
    counted = work(LANE)
    counts.started(counted)
    counts.ran(counted)
    counts.over(counted)
    counts.delay.observe(0.02)
    counts.lateness.observe(0.3)
    counts.tell([("ore", 16, 5)], overdue=1.5, producer_errors=2)
    found: list[Any] = []
    for number in range(1, workers + 1):
        record = Record(vitals=Vitals(1, Phase.READY, 1, 100, 7, 2, 3), running=5, stalls=10, blocked=20)
        record.restarts["stalled"] = 4
        found.append(
            SimpleNamespace(
                name=SimpleNamespace(text=f"mill-{number}"),
                record=record,
                up=True,
                counted=lambda: read_tally(path),
            )
        )
    registry = CollectorRegistry()
    registry.register(WorkerCollector(found))
    return generate_latest(registry).decode()


def test_what_is_exposed_is_the_catalogue_with_its_kinds_and_labels(tmp_path: Path) -> None:
    text = exposed(tmp_path)
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    assert kinds == {metric.name: metric.kind for metric in WORKER_METRICS}
    for metric in WORKER_METRICS:
        suffix = "_bucket" if metric.kind == "histogram" else ""
        sample = re.search(rf"^{metric.name}{suffix}(?:{{(.*)}})? ", text, re.MULTILINE)
        assert sample is not None, metric.name
        assert set(re.findall(r"(\w+)=", sample[1] or "")) - {"le"} == set(metric.labels)


def test_counts_go_on_over_restarts(tmp_path: Path) -> None:
    text = exposed(tmp_path)
    assert 'laneway_worker_stalls_total{worker="mill-1"} 13.0' in text
    assert 'laneway_worker_restarts_total{reason="stalled",worker="mill-1"} 4.0' in text
    assert 'laneway_worker_up{worker="mill-1"} 1.0' in text


def test_processes_are_told_one_by_one_and_their_tasks_together(tmp_path: Path) -> None:
    text = exposed(tmp_path, workers=3)
    assert 'laneway_tasks_ended_total{outcome="succeeded",priority="high",type="ore"} 3.0' in text
    assert 'laneway_tasks_ended_total{outcome="expired",priority="high",type="ore"} 0.0' in text
    assert 'laneway_task_run_seconds_count{priority="high",type="ore"} 3.0' in text
    assert 'laneway_slots{type="ore"} 48.0' in text
    assert 'laneway_worker_runs_total{worker="mill-3"} 1.0' in text
    assert 'laneway_timers_overdue_seconds{worker="mill-3"} 1.5' in text
    assert 'laneway_worker_loop_delay_seconds_count{worker="mill-2"} 1.0' in text
    assert 'laneway_timer_lateness_seconds_bucket{le="0.5"} 3.0' in text
    assert 'laneway_timer_lateness_seconds_bucket{le="0.25"} 0.0' in text


def test_the_page_of_metrics_names_each() -> None:
    page = Path(__file__).parents[3] / "docs" / "metrics.md"
    named = re.findall(r"^\| `(laneway_\w+)`", page.read_text("utf-8"), re.MULTILINE)
    assert named == [metric.name for metric in METRICS]
