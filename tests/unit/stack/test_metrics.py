import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest

from laneway.stack.metrics import WorkerCollector
from laneway.stack.workers import Record
from schemas.metrics import METRICS, WORKER_METRICS
from streams.flight import Phase, Vitals


def exposed() -> str:
    record = Record(vitals=Vitals(1, Phase.READY, 1, 100, 7, 2, 3), running=5, stalls=10, blocked=20, finished=1000)
    record.restarts["stalled"] = 4
    worker: Any = SimpleNamespace(name=SimpleNamespace(text="mill-1"), record=record, up=True)
    registry = CollectorRegistry()
    registry.register(WorkerCollector([worker]))
    return generate_latest(registry).decode()


def test_what_is_exposed_is_the_catalogue_with_its_kinds_and_labels() -> None:
    text = exposed()
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    assert kinds == {metric.name: metric.kind for metric in WORKER_METRICS}
    for metric in WORKER_METRICS:
        labels = re.search(rf"^{metric.name}{{(.*)}} ", text, re.MULTILINE)
        assert labels is not None, metric.name
        assert set(re.findall(r"(\w+)=", labels[1])) == set(metric.labels)


def test_counts_go_on_over_restarts() -> None:
    text = exposed()
    assert 'laneway_worker_stalls_total{worker="mill-1"} 13.0' in text
    assert 'laneway_worker_runs_total{worker="mill-1"} 1100.0' in text
    assert 'laneway_worker_restarts_total{reason="stalled",worker="mill-1"} 4.0' in text
    assert 'laneway_worker_up{worker="mill-1"} 1.0' in text


def test_the_page_of_metrics_names_each() -> None:
    page = Path(__file__).parents[3] / "docs" / "metrics.md"
    assert re.findall(r"^\| `(\w+)`", page.read_text("utf-8"), re.MULTILINE) == [metric.name for metric in METRICS]
