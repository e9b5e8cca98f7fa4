"""Three nodes take records that want three copies, go on when one of them is killed, and take it back."""

from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from laneway.kafka.broker import EmbeddedKafka
from tests.support.kafka import read_all
from tests.support.waiting import eventually


@pytest.mark.long
async def test_one_of_three_may_die(tmp_path: Path) -> None:
    with EmbeddedKafka(tmp_path, brokers=3) as kafka:
        assert len(kafka.bootstrap_servers.split(",")) == len(kafka.pids) == 3
        admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
        admin.create_topics([NewTopic("safe", 3, 3)])["safe"].result(timeout=20)
        producer = Producer({"bootstrap.servers": kafka.bootstrap_servers, "enable.idempotence": True})

        def in_sync() -> list[int]:
            return [len(p.isrs) for p in admin.list_topics("safe", timeout=10).topics["safe"].partitions.values()]

        def produce(values: range) -> None:
            for value in values:
                producer.produce("safe", value=b"%d" % value, partition=value % 3)
            assert producer.flush(60) == 0

        await eventually(lambda: in_sync() == [3, 3, 3], within=20)
        produce(range(100))
        victim = kafka.pids[1]
        kafka.kill(1)
        assert set(kafka.pids) == {2, 3}
        produce(range(100, 200))

        kafka.start_nodes(1)
        assert kafka.pids[1] != victim
        await eventually(lambda: in_sync() == [3, 3, 3], within=30)
        kafka.stop_node(3)
        produce(range(200, 300))
        assert {record.value for record in read_all(kafka.bootstrap_servers, "safe")} == {b"%d" % n for n in range(300)}
    assert kafka.pids == {}
