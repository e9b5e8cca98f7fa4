"""What the embedded broker holds is there again after a restart, orderly or not, and on other ports."""

from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from laneway.kafka.broker import EmbeddedKafka
from tests.support.kafka import read_all


@pytest.mark.parametrize("end", ["stopped", "killed"])
def test_records_survive(tmp_path: Path, end: str) -> None:
    with EmbeddedKafka(tmp_path) as kafka:
        admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
        admin.create_topics([NewTopic("kept", 2)])["kept"].result(timeout=10)
        producer = Producer({"bootstrap.servers": kafka.bootstrap_servers, "acks": "all"})
        for number in range(100):
            producer.produce("kept", value=b"%d" % number, partition=number % 2)
        assert producer.flush(10) == 0
        cluster_id = admin.list_topics(timeout=10).cluster_id
        first = kafka.bootstrap_servers
        if end == "killed":
            kafka.kill()

    with EmbeddedKafka(tmp_path) as kafka:
        assert (
            AdminClient({"bootstrap.servers": kafka.bootstrap_servers}).list_topics(timeout=10).cluster_id == cluster_id
        )
        values = {record.value for record in read_all(kafka.bootstrap_servers, "kept")}
        assert values == {b"%d" % number for number in range(100)}
        assert kafka.bootstrap_servers != first
