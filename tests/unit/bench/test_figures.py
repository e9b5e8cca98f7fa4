import os
import time
from datetime import UTC, datetime, timedelta

import pytest

from laneway.bench.latency import shares
from laneway.bench.log import Ended
from laneway.bench.machine import CpuMeter, memory, tree
from laneway.bench.measuring import milliseconds, percentile
from laneway.bench.own_load import requests_of
from laneway.bench.plan import SECTIONS, BenchPlan
from laneway.bench.report import number, unit_of
from laneway.bench.run import KINDS, Spread, spread_of, summarised
from laneway.bench.submit import batch_of, body_of
from laneway.bench.tasks import burn
from schemas.settings import Settings
from schemas.status import State

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_every_section_of_the_plan_can_be_measured() -> None:
    assert tuple(KINDS) == SECTIONS


@pytest.mark.parametrize(
    ("values", "spread"),
    [([3.0], Spread(3, 3, 3)), ([3.0, 1.0], Spread(1, 2, 3)), ([9.0, 1.0, 2.0], Spread(1, 2, 9))],
)
def test_a_spread_tells_least_middle_and_largest(values: list[float], spread: Spread) -> None:
    assert spread_of(values) == spread


def test_a_section_gathers_figures_of_parts_by_their_names() -> None:
    runs = [{"seconds": 1, "cpu": {"api": 2.0}}, {"seconds": 3, "cpu": {"api": 4.0, "view": 1.0}, "name": "no number"}]
    figures = summarised("title", ("seconds",), runs).figures
    assert figures == {"seconds": Spread(1, 2, 3), "cpu.api": Spread(2, 3, 4), "cpu.view": Spread(1, 1, 1)}


def test_percentiles() -> None:
    values = [float(value) for value in range(1, 101)]
    assert percentile(values, 0.5) == 51
    assert percentile(values, 0.99) == 100
    assert percentile([], 0.5) == 0
    assert milliseconds([0.001, 0.002, 0.003], "x") == {"x_p50_ms": 2.0, "x_p99_ms": 3.0}


def ended(priority: str, at: float, worker: str = "a", started: float | None = None) -> Ended:
    began = NOW + timedelta(seconds=at if started is None else started)
    return Ended(f"{priority}{at}{worker}", State.SUCCEEDED, priority, began, worker, seen_at=at)


def test_the_share_of_low_counts_only_while_both_lanes_have_tasks() -> None:
    # `low` before the window and after nine tenths of `high` would make its share look larger than it was.
    high = [ended("high", 1.0 + number / 10) for number in range(10)]
    low = [ended("low", 0.5), ended("low", 1.25), ended("low", 1.65), *(ended("low", 3.0 + n) for n in range(20))]
    told = shares([*high, *low], since=1.0)
    assert told["tasks_in_window"] == 9 + 2
    assert told["low_share_percent"] == pytest.approx(100 * 2 / 11, abs=0.1)


def test_the_wait_of_lows_head_is_the_longest_gap_in_one_worker() -> None:
    high = [ended("high", 1.0 + number) for number in range(10)]
    low = [ended("low", at, "a") for at in (2.0, 3.0, 6.0)] + [ended("low", at, "b") for at in (4.0, 5.0)]
    assert shares([*high, *low], since=1.0)["low_head_longest_wait_ms"] == 3000


def test_the_meter_counts_the_cpu_of_its_groups() -> None:
    meter = CpuMeter({"us": [os.getpid()], "nobody": []})
    burn(0.2)
    used = meter.seconds()
    assert used["us"] >= 0.17  # the kernel tells user and system time in whole hundredths, each rounded down
    assert used["nobody"] == 0


def test_a_task_of_the_benchmark_uses_the_cpu_that_it_says() -> None:
    before = time.thread_time()
    burn(0.02)
    assert time.thread_time() - before >= 0.02


def test_memory_and_tree_know_this_process() -> None:
    assert os.getpid() in tree(os.getpid())
    told = memory([os.getpid()])
    assert told.processes == 1
    assert 0 < told.pss_mb <= told.rss_mb


def test_requests_are_whole() -> None:
    body = batch_of(body_of("bench.noop", "low"), 2)
    (request,) = requests_of("post", "127.0.0.1:1", "/api/tasks/batch", body)
    head, _, sent = request.partition(b"\r\n\r\n")
    assert sent == body
    assert f"Content-Length: {len(body)}".encode() in head
    assert len(requests_of("get", "127.0.0.1:1", "/", b"/a\n/b\n")) == 2


def test_a_quick_plan_is_small_and_keeps_what_was_chosen() -> None:
    plan = BenchPlan(settings=Settings(), workers=3).quick().changed(runs=None, only=["noop"])
    assert plan.workers == 3
    assert plan.runs == 1
    assert plan.only == ["noop"]
    assert plan.tasks < 1000


@pytest.mark.parametrize(
    ("figure", "unit"), [("tasks_per_s", "/s"), ("p99_ms", "ms"), ("growth_mb", "MB"), ("cpu_us_per_task", "µs/task")]
)
def test_a_figures_name_says_its_unit(figure: str, unit: str) -> None:
    assert unit_of(figure) == unit


def test_numbers_show_about_three_digits() -> None:
    assert [number(value) for value in (12345.6, 45.67, 1.234, -200.4)] == ["12,346", "45.7", "1.23", "-200"]
