import math
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.support.stacks import laneway

pytestmark = pytest.mark.long

SECTIONS = ["noop", "memory"]
PROCESSES = {"api", "view", "workers", "bench"}


def test_each_section_that_was_asked_for_has_figures_and_the_run_its_premises(tmp_path: Path) -> None:
    output = tmp_path / "figures.json"
    options = ["--quick", "--workers", "1", "--only", ",".join(SECTIONS), "--output", str(output), "--json"]
    done = laneway("bench", *options, cwd=tmp_path, within=300)
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = msgspec.json.decode(done.stdout)
    assert told == msgspec.json.decode(output.read_bytes())

    premises = told["premises"]
    assert premises["machine"]["cores"] >= 1
    assert premises["broker"]["acks"] == "all"
    assert premises["load_generator"]
    assert premises["sizes"]["workers"] == 1
    assert {"laneway", "faust-streaming", "confluent-kafka"} <= set(premises["versions"])

    assert list(told["sections"]) == SECTIONS
    for name, section in told["sections"].items():
        assert section["error"] is None, name
        assert len(section["runs"]) == 1, name
        for figure, spread in section["figures"].items():
            assert spread["min"] <= spread["median"] <= spread["max"], (name, figure)
            assert math.isfinite(spread["median"]), (name, figure)
        assert {figure.partition(".")[0] for figure in section["figures"]} >= set(section["main"]), name

    noop = told["sections"]["noop"]["runs"][0]
    assert noop["tasks_per_s"] > 0
    assert set(noop["cpu_us_per_task"]) >= PROCESSES
    assert sum(noop["cpu_us_per_task"].values()) > 0
    memory = told["sections"]["memory"]["runs"][0]
    assert memory["idle_rss_mb"]["workers"] > 0
    assert "workers" not in memory["queued_rss_mb"], "they are stopped while the queue fills"
