"""A broker that cannot start says so with the lines of its own log that tell why."""

from pathlib import Path

import pytest

from laneway.kafka.broker import EmbeddedKafka
from schemas.errors import BrokerUnavailableError


def test_the_log_is_quoted(tmp_path: Path) -> None:
    kafka = EmbeddedKafka(tmp_path)
    # Data of another cluster in this cluster's place.
    log = tmp_path / "node-1" / "log"
    log.mkdir(parents=True)
    (log / "meta.properties").write_text("version=1\ncluster.id=MkU3OEVBNTcwNTJENDM2Qg\nnode.id=7\n")
    with pytest.raises(
        BrokerUnavailableError, match=r"(?s)node 1 ended with code .*kafka\.log ends with:.*Stored node id 7"
    ):
        kafka.start()
    assert kafka.pids == {}
