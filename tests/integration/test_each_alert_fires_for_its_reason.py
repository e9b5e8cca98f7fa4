"""``promtool`` reads the rules, every board's expressions, and sees each alert fire for its reason and for no other."""

import json
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest
import yaml

from tests.support.prometheus import CONFIGURATION, RULES, programs, promtool
from tests.support.source_tree import ROOT

pytestmark = pytest.mark.timeout(120)

LANE: Final = '{type="ore",priority="low"}'
SOUND: Final = {
    f"laneway_lane_oldest_seconds{LANE}": "0x40",
    f"laneway_lane_lag{LANE}": "0x40",
    f"laneway_lane_running{LANE}": "1x40",
    f"laneway_lane_workers{LANE}": "2x40",
    f"laneway_lane_paused{LANE}": "0x40",
    f"laneway_lane_stopped_by_budget{LANE}": "0x40",
    f"laneway_task_wait_seconds_count{LANE}": "0+60x40",
    'laneway_dead_letters_total{type="ore",reason="rejected"}': "0x40",
    'laneway_timers_overdue_seconds{instance="w",worker="w-1"}': "0x40",
    'laneway_worker_up{instance="w",worker="w-1"}': "1x40",
    'laneway_worker_restarts_total{instance="w",worker="w-1",reason="failed"}': "0x40",
    'laneway_worker_blocked_loops_total{instance="w",worker="w-1"}': "0x40",
    'laneway_worker_stalls_total{instance="w",worker="w-1"}': "0x40",
    'laneway_worker_loop_delay_seconds_bucket{instance="w",worker="w-1",le="0.1"}': "0+240x40",
    'laneway_worker_loop_delay_seconds_bucket{instance="w",worker="w-1",le="1.0"}': "0+240x40",
    'laneway_worker_loop_delay_seconds_bucket{instance="w",worker="w-1",le="+Inf"}': "0+240x40",
    'laneway_api_loop_delay_seconds_bucket{instance="a",le="0.1"}': "0+240x40",
    'laneway_api_loop_delay_seconds_bucket{instance="a",le="1.0"}': "0+240x40",
    'laneway_api_loop_delay_seconds_bucket{instance="a",le="+Inf"}': "0+240x40",
    'laneway_worker_producer_errors_total{instance="w",worker="w-1"}': "0x40",
    'laneway_api_producer_errors_total{instance="a"}': "0x40",
    'laneway_api_ready{instance="a",check="view"}': "1x40",
    'laneway_api_requests_total{instance="a",status="202"}': "0+600x40",
    'laneway_api_requests_total{instance="a",status="503"}': "0x40",
    'laneway_view_lag_records{instance="a"}': "12x40",
    'up{job="laneway-api",instance="a"}': "1x40",
}
"""A system in which all is well, a value a minute."""


class Case(NamedTuple):
    alert: str
    differing: dict[str, str | None]
    """What differs from a sound system; ``None``: the series is not there."""
    not_yet: str
    """When it does not fire yet."""
    by: str
    """When it fires."""
    others: frozenset[str] = frozenset()
    """What fires beside it by then."""


CASES: Final = [
    Case(
        "LanewayLaneStandsStill",
        {
            f"laneway_lane_oldest_seconds{LANE}": "0 30 90+60x40",
            f"laneway_lane_running{LANE}": "0x40",
            f"laneway_task_wait_seconds_count{LANE}": "0x40",
        },
        "6m",
        "8m",
    ),
    Case("LanewayLaneTooOld", {f"laneway_lane_oldest_seconds{LANE}": "0+60x40"}, "18m", "22m"),
    Case(
        "LanewayNoWorker",
        {f"laneway_lane_workers{LANE}": "0x40", f"laneway_lane_lag{LANE}": "5x40"},
        "1m",
        "3m",
    ),
    Case("LanewayLanesUnknown", {f"laneway_lane_lag{LANE}": None}, "4m", "6m"),
    Case(
        "LanewayBudgetStoppedLane",
        {f"laneway_lane_stopped_by_budget{LANE}": "0x4 1x40", f"laneway_lane_paused{LANE}": "0x4 1x40"},
        "4m",
        "5m",
    ),
    Case("LanewayDeadLetters", {'laneway_dead_letters_total{type="ore",reason="rejected"}': "0x4 3+3x40"}, "4m", "12m"),
    Case("LanewayTimersLate", {'laneway_timers_overdue_seconds{instance="w",worker="w-1"}': "20x4 60x40"}, "5m", "7m"),
    Case("LanewayWorkerDown", {'laneway_worker_up{instance="w",worker="w-1"}': "0x40"}, "2m", "4m"),
    Case(
        "LanewayWorkerRestarts",
        {'laneway_worker_restarts_total{instance="w",worker="w-1",reason="failed"}': "0 1 2 3 4 5x40"},
        "2m",
        "6m",
    ),
    Case(
        "LanewayLoopBlocked",
        {'laneway_worker_blocked_loops_total{instance="w",worker="w-1"}': "0x3 1x40"},
        "3m",
        "5m",
    ),
    Case("LanewayLoopBlocked", {'laneway_worker_stalls_total{instance="w",worker="w-1"}': "0x3 1x40"}, "3m", "5m"),
    Case(
        "LanewayLoopSlow",
        {'laneway_worker_loop_delay_seconds_bucket{instance="w",worker="w-1",le="0.1"}': "0+60x40"},
        "5m",
        "8m",
    ),
    Case("LanewayLoopSlow", {'laneway_api_loop_delay_seconds_bucket{instance="a",le="0.1"}': "0+60x40"}, "5m", "8m"),
    Case(
        "LanewayProducerErrors",
        {'laneway_worker_producer_errors_total{instance="w",worker="w-1"}': "0x3 7x40"},
        "3m",
        "5m",
    ),
    Case("LanewayProducerErrors", {'laneway_api_producer_errors_total{instance="a"}': "0x3 7x40"}, "3m", "5m"),
    Case("LanewayApiNotReady", {'laneway_api_ready{instance="a",check="view"}': "1 0x40"}, "2m", "4m"),
    Case(
        "LanewayApiErrors",
        {'laneway_api_requests_total{instance="a",status="503"}': "0+60x40"},
        "1m",
        "4m",
    ),
    Case("LanewayViewBehind", {'laneway_view_lag_records{instance="a"}': "9000x40"}, "1m", "3m"),
    Case("LanewayTargetDown", {'up{job="laneway-api",instance="a"}': "0x40"}, "1m", "3m"),
]


def test_promtool_finds_no_fault(tmp_path: Path) -> None:
    checked = promtool("check", "config", CONFIGURATION, cwd=tmp_path)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_a_sound_system_raises_nothing(tmp_path: Path) -> None:
    _judge(tmp_path, [_case(SOUND, [], "35m")])


def test_each_alert_has_a_case() -> None:
    rules = yaml.safe_load(RULES.read_text())
    alerts = {rule["alert"] for group in rules["groups"] for rule in group["rules"]}
    assert alerts == {case.alert for case in CASES}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.alert)
def test_it_fires_in_time_and_alone(tmp_path: Path, case: Case) -> None:
    series = {name: values for name, values in (SOUND | case.differing).items() if values is not None}
    assert len(series) + list(case.differing.values()).count(None) == len(SOUND)
    _judge(
        tmp_path,
        [_case(series, [], case.not_yet), _case(series, [case.alert, *case.others], case.by)],
    )


def test_what_was_held_on_purpose_raises_nothing(tmp_path: Path) -> None:
    series = SOUND | {
        f"laneway_lane_oldest_seconds{LANE}": "0+60x40",
        f"laneway_lane_running{LANE}": "0x40",
        f"laneway_task_wait_seconds_count{LANE}": "0x40",
        f"laneway_lane_paused{LANE}": "1x40",
    }
    _judge(tmp_path, [_case(series, [], "35m")])


def test_the_boards_can_be_evaluated(tmp_path: Path) -> None:
    expressions = [
        target["expr"].replace("$__rate_interval", "5m")
        for path in sorted((ROOT / "docker" / "grafana" / "boards").glob("*.json"))
        for panel in json.loads(path.read_text())["panels"]
        for target in panel["targets"]
    ]
    assert expressions
    rules = [{"record": f"board:{number}", "expr": expr} for number, expr in enumerate(expressions)]
    file = tmp_path / "boards.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "boards", "rules": rules}]}))
    checked = promtool("check", "rules", file, cwd=tmp_path)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def _case(series: dict[str, str], firing: list[str], at: str) -> dict[str, Any]:
    expected = [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in firing]
    return {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {
                "expr": 'max by (alertname) (ALERTS{alertstate="firing"})',
                "eval_time": at,
                "exp_samples": expected,
            }
        ],
    }


def _judge(folder: Path, cases: list[dict[str, Any]]) -> None:
    programs()
    file = folder / "test.yml"
    file.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": cases}))
    tested = promtool("test", "rules", file, cwd=folder)
    assert tested.returncode == 0, tested.stdout + tested.stderr
