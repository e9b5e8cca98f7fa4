"""A data directory belongs to one broker at a time, and to the number of nodes that it was made with."""

import json
from datetime import timedelta
from pathlib import Path

import pytest

from laneway.kafka import broker
from laneway.kafka.broker import EmbeddedKafka
from laneway.kafka.embedded.locking import locked
from schemas.errors import ConfigurationError


def test_another_number_of_nodes(tmp_path: Path) -> None:
    (tmp_path / "cluster.json").write_text(json.dumps({"cluster_id": "MkU3OEVBNTcwNTJENDM2Qg", "brokers": 1}))
    with pytest.raises(ConfigurationError, match=r"^--brokers: saw 3, want 1, which the data in .* was made with"):
        EmbeddedKafka(tmp_path, brokers=3).start()


def test_a_directory_in_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker, "RELEASE_WITHIN", timedelta(milliseconds=100))
    with (
        locked(tmp_path / "lock"),
        pytest.raises(ConfigurationError, match=r"^--data-dir: .* no other broker is using"),
    ):
        EmbeddedKafka(tmp_path).start()


@pytest.mark.parametrize("brokers", [0, 2, 4])
def test_a_number_of_nodes_that_makes_no_quorum(tmp_path: Path, brokers: int) -> None:
    with pytest.raises(ConfigurationError, match=f"^--brokers: saw {brokers}, want 1 or 3"):
        EmbeddedKafka(tmp_path, brokers=brokers)
