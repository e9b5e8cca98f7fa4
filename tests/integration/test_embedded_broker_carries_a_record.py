"""The embedded broker takes a record and gives it back, on the loopback interface alone."""

import socket
from pathlib import Path

import pytest
from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from laneway.kafka.broker import EmbeddedKafka
from tests.support.kafka import read_all


def test_a_record_comes_back_and_topics_must_be_declared(tmp_path: Path) -> None:
    steps: list[str] = []
    with EmbeddedKafka(tmp_path / "kafka", on_progress=lambda what, _done, _total: steps.append(what)) as kafka:
        admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
        admin.create_topics([NewTopic("declared", 1)])["declared"].result(timeout=10)

        producer = Producer({"bootstrap.servers": kafka.bootstrap_servers, "enable.idempotence": True})
        producer.produce("declared", key=b"k", value=b"v")
        assert producer.flush(10) == 0

        assert [(r.key, r.value) for r in read_all(kafka.bootstrap_servers, "declared")] == [(b"k", b"v")]
        assert "misspelt" not in admin.list_topics(timeout=10).topics
        with pytest.raises(KafkaException, match="UNKNOWN_TOPIC_OR_PART"):
            raise KafkaException(admin.list_topics("misspelt", timeout=10).topics["misspelt"].error)

        host, _, port = kafka.bootstrap_servers.partition(":")
        assert host == "127.0.0.1"
        with pytest.raises(OSError, match="refused"), socket.create_connection(("127.0.0.2", int(port)), timeout=2):
            pass
    assert kafka.pids == {}
    assert any("starting Apache Kafka" in step for step in steps)


def test_a_broker_that_was_stopped_may_be_stopped_again(tmp_path: Path) -> None:
    kafka = EmbeddedKafka(tmp_path / "kafka")
    kafka.stop()
    kafka.start()
    kafka.stop()
    kafka.stop()
    assert kafka.pids == {}
