"""Runs the chosen sections and gathers their figures."""

import platform
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from laneway.bench import footprint, intake, latency, load, machine, throughput, waiting
from laneway.bench.measuring import Bench, Figures
from laneway.bench.plan import BenchPlan
from laneway.bench.system import Cluster
from schemas.errors import BenchmarkError

Progress = Callable[[str], None]


class SectionKind(NamedTuple):
    """A section: what it says and what measures it."""

    title: str
    main: tuple[str, ...]
    """The figures that people look at first."""
    measure: Callable[[Bench], Iterator[Figures]]


_BESIDE_A_FLOOD: Final = ("outcome_p50_ms", "outcome_p99_ms", "library_p50_ms", "library_p99_ms", "low_kept_percent")

KINDS: Final = {
    "noop": SectionKind(
        "tasks that do nothing, end to end",
        ("tasks_per_s", "enqueued_per_s"),
        lambda bench: throughput.throughput(bench, "noop"),
    ),
    "cpu": SectionKind(
        "tasks of 1 ms of CPU, end to end",
        ("tasks_per_s", "enqueued_per_s"),
        lambda bench: throughput.throughput(bench, "cpu"),
    ),
    "wait": SectionKind(
        "tasks that wait 5 ms, end to end",
        ("tasks_per_s", "enqueued_per_s"),
        lambda bench: throughput.throughput(bench, "wait"),
    ),
    "accept": SectionKind(
        "accepted over HTTP one by one, workers running",
        ("accepted_per_s", "completed_per_s", "p50_ms", "p99_ms", "refused", "broken"),
        intake.accept,
    ),
    "batch": SectionKind(
        "accepted over HTTP in batches, workers running",
        ("accepted_per_s", "completed_per_s", "p50_ms", "p99_ms", "refused", "broken"),
        intake.batch,
    ),
    "latency": SectionKind(
        "submit to result at a low rate",
        ("library_p50_ms", "library_p99_ms", "outcome_p50_ms", "outcome_p99_ms"),
        latency.latency,
    ),
    "priority": SectionKind(
        "`high` beside a flood of `low` tasks of 1 ms of CPU",
        _BESIDE_A_FLOOD,
        latency.priority,
    ),
    "dedicated": SectionKind(
        "the same, where `high` has a further worker of its own",
        _BESIDE_A_FLOOD,
        lambda bench: latency.priority(bench, dedicated=True),
    ),
    "saturated": SectionKind(
        "`low` while `high` takes all that it can get",
        ("low_share_percent", "low_head_longest_wait_ms"),
        latency.saturated,
    ),
    "status": SectionKind(
        "statuses read one by one",
        ("reads_per_s", "p50_ms", "p99_ms", "refused", "broken"),
        intake.status,
    ),
    "memory": SectionKind(
        "memory with an empty queue and a full one",
        ("growth_mb", "idle_rss_mb", "settled_rss_mb", "draining_rss_mb", "queued_per_s"),
        footprint.footprint,
    ),
    "sleepers": SectionKind(
        "tasks of 1 s on one partition, a slot for each",
        ("seconds",),
        throughput.sleepers,
    ),
    "waiting": SectionKind(
        "tasks due now and in 2.5 s, with none and with many that wait for tomorrow; one worker",
        (
            "restart_seconds",
            "worker_rss_mb",
            "alone_outcome_p50_ms",
            "beside_outcome_p50_ms",
            "alone_outcome_p99_ms",
            "beside_outcome_p99_ms",
            "alone_late_p99_ms",
            "beside_late_p99_ms",
            "restarted_late_p99_ms",
            "accepted_per_s",
        ),
        waiting.waiting,
    ),
}


class Spread(msgspec.Struct, frozen=True):
    """One figure over all runs."""

    min: float
    median: float
    max: float


class Section(msgspec.Struct, frozen=True):
    """What one section gave."""

    title: str
    main: list[str]
    figures: dict[str, Spread]
    """By name; a figure of a part is ``figure.part``, such as ``cpu_us_per_task.workers``."""
    runs: list[dict[str, Any]]
    error: str | None = None
    """Why it has fewer runs than asked for, or none."""


class BenchReport(msgspec.Struct, frozen=True):
    """What a benchmark gave, and under which premises."""

    began_at: datetime
    premises: dict[str, Any]
    sections: dict[str, Section]

    @property
    def complete(self) -> bool:
        """Whether every section has all its runs."""
        return not any(section.error for section in self.sections.values())


def summarised(title: str, main: tuple[str, ...], runs: list[Figures], error: str | None = None) -> Section:
    """A section from its runs."""
    columns: dict[str, list[float]] = {}
    for run in runs:
        for name, value in flattened(run):
            columns.setdefault(name, []).append(value)
    return Section(title, list(main), {name: spread_of(values) for name, values in columns.items()}, runs, error)


def flattened(run: Figures) -> Iterator[tuple[str, float]]:
    """The numbers of a run by name."""
    for name, value in run.items():
        if isinstance(value, dict):
            yield from ((f"{name}.{part}", number) for part, number in value.items())
        elif isinstance(value, int | float):
            yield name, value


def spread_of(values: list[float]) -> Spread:
    """Least, middle and largest; the middle of an even number is the mean of the two."""
    ordered = sorted(values)
    half = len(ordered) // 2
    middle = ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2
    return Spread(ordered[0], middle, ordered[-1])


def run_benchmark(plan: BenchPlan, progress: Progress) -> BenchReport:
    """Start a cluster unless there is one, measure every section of the plan, and stop what was started.

    A section that cannot be measured is told as such; the others are measured.

    Raises:
        BenchmarkError: the broker could not be started.
    """
    folder = Path(tempfile.mkdtemp(prefix="laneway-bench-"))
    began_at = datetime.now(UTC)
    cluster = Cluster(plan.settings, folder)
    sections: dict[str, Section] = {}
    failed = False
    try:
        progress("starting the broker")
        cluster.start()
        with closing(Bench(plan, cluster, progress)) as bench:
            for name in plan.only:
                sections[name] = measured(bench, name)
        report = BenchReport(began_at, premises_of(plan, embedded=cluster.embedded), sections)
    except Exception:
        failed = True
        raise
    else:
        failed = not report.complete
        return report
    finally:
        cluster.stop()
        _clear(folder, keep_logs=failed)
        if failed:
            progress(f"logs are kept in {folder}")


def _clear(folder: Path, *, keep_logs: bool) -> None:
    """Remove what a benchmark wrote; the logs of one that failed stay."""
    if not keep_logs:
        shutil.rmtree(folder, ignore_errors=True)
        return
    for data in (*folder.glob("broker/kafka/node-*/log"), *folder.glob("bench-*/data")):
        shutil.rmtree(data, ignore_errors=True)


def measured(bench: Bench, name: str) -> Section:
    """Measure one section."""
    kind = KINDS[name]
    runs: list[Figures] = []
    error: str | None = None
    bench.progress(f"{name}: {kind.title}")
    try:
        for figures in kind.measure(bench):
            runs.append(figures)
            told = ", ".join(f"{main} {figures[main]}" for main in kind.main if main in figures)
            bench.progress(f"{name}: run {len(runs)}: {told}")
    except BenchmarkError as failure:
        error = str(failure)
        bench.progress(f"{name}: {error}")
    return summarised(kind.title, kind.main, runs, error)


def premises_of(plan: BenchPlan, *, embedded: bool) -> dict[str, Any]:
    """What the figures stand on."""
    sizes = {name: getattr(plan, name) for name in plan.__dataclass_fields__ if name not in {"settings", "only"}}
    packages = ("laneway", "faust-streaming", "aiokafka", "confluent-kafka", "fastapi", "uvicorn", "uvloop")
    return {
        "machine": machine.description(),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in packages}},
        "broker": {
            "kind": "embedded, one node, on the same machine" if embedded else "as set",
            "acks": "all",
            "replication_factor": plan.settings.kafka.replication_factor,
        },
        "load_generator": load.generator(),
        "sizes": sizes,
    }
