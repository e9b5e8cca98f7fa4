"""Alerts and boards use metrics and labels of the catalogue alone, and each alert has its part of the runbook."""

import json
import re
from collections.abc import Iterator
from typing import Any, Final

import pytest
import yaml

from schemas.metrics import LABELS, METRICS
from tests.support.promql import asked_by
from tests.support.source_tree import ROOT

BY_NAME: Final = {metric.name: metric for metric in METRICS}
OF_PROMETHEUS: Final = frozenset({"job", "instance"})
"""Labels that Prometheus itself puts on every series."""
RULES: Final = sorted((ROOT / "docker" / "prometheus" / "rules").glob("*.yml"))
BOARDS: Final = sorted((ROOT / "docker" / "grafana" / "boards").glob("*.json"))


def alerts() -> list[dict[str, Any]]:
    return [rule for path in RULES for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"]]


def panels() -> Iterator[tuple[str, dict[str, Any]]]:
    for path in BOARDS:
        for panel in json.loads(path.read_text())["panels"]:
            yield f"{path.stem}: {panel['title']}", panel


def expressions() -> Iterator[tuple[str, str]]:
    for alert in alerts():
        yield alert["alert"], alert["expr"]
    for title, panel in panels():
        yield from ((title, target["expr"]) for target in panel["targets"])
    for path in BOARDS:
        for variable in json.loads(path.read_text())["templating"]["list"]:
            yield f"{path.stem}: ${variable['name']}", variable["query"]["query"]


def labels_of(series: str) -> frozenset[str] | None:
    """Labels of a series by its name, as Prometheus stores it; ``None`` when the catalogue has no such."""
    if series == "up":
        return OF_PROMETHEUS
    name, _, part = series.rpartition("_")
    if part in {"bucket", "count", "sum"} and name in BY_NAME and BY_NAME[name].kind == "histogram":
        return frozenset(BY_NAME[name].labels) | OF_PROMETHEUS | ({"le"} if part == "bucket" else set())
    metric = BY_NAME.get(series)
    return None if metric is None or metric.kind == "histogram" else frozenset(metric.labels) | OF_PROMETHEUS


@pytest.mark.parametrize(("where", "expression"), list(expressions()))
def test_an_expression_asks_for_what_is_told(where: str, expression: str) -> None:
    asked = asked_by(expression)
    assert asked.selected
    labels: set[str] = set()
    for series, selected in asked.selected.items():
        known = labels_of(series)
        assert known is not None, f"{where}: {series} is not in schemas/metrics.py"
        assert selected <= known, f"{where}: {series} has no label {selected - known}"
        labels |= known
    assert asked.grouped <= labels, f"{where}: nothing has {asked.grouped - labels}"


def test_every_metric_is_asked_for() -> None:
    asked = {series for _, expression in expressions() for series in asked_by(expression).selected}
    families = asked | {series.rpartition("_")[0] for series in asked}
    assert set(BY_NAME) <= families


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: str(alert["alert"]))
def test_an_alert_says_what_it_means_and_where_to_read_on(alert: dict[str, Any]) -> None:
    assert alert["alert"].startswith("Laneway")
    assert alert["labels"]["severity"] in {"critical", "warning"}
    page, _, anchor = alert["annotations"]["runbook_url"].partition("#")
    headings = re.findall(r"^#{2,4} (.+)$", (ROOT / page).read_text("utf-8"), re.MULTILINE)
    assert anchor in {_anchor(heading) for heading in headings}
    (told,) = [heading for heading in headings if _anchor(heading) == anchor]
    section = (ROOT / page).read_text("utf-8").partition(f" {told}\n")[2].partition("\n#")[0]
    assert f"`{alert['alert']}`" in section
    for text in (alert["annotations"]["summary"], alert["annotations"]["description"]):
        used = set(re.findall(r"\$labels\.(\w+)", text))
        known = set().union(*(labels_of(series) or () for series in asked_by(alert["expr"]).selected))
        assert used <= known


def test_each_label_is_told_of() -> None:
    assert {label for metric in METRICS for label in metric.labels} == set(LABELS)


def test_boards_find_their_source_and_stand_side_by_side() -> None:
    source = yaml.safe_load((ROOT / "docker/grafana/provisioning/datasources/prometheus.yml").read_text())
    (uid,) = [each["uid"] for each in source["datasources"]]
    assert BOARDS
    for path in BOARDS:
        board = json.loads(path.read_text())
        assert board["uid"] == path.stem
        assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
        taken: set[tuple[int, int]] = set()
        for panel in board["panels"]:
            assert {panel["datasource"]["uid"], *(each["datasource"]["uid"] for each in panel["targets"])} == {uid}
            at = panel["gridPos"]
            cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
            assert not cells & taken
            assert at["x"] + at["w"] <= 24
            taken |= cells


def _anchor(heading: str) -> str:
    """As GitHub makes it of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
