"""One of three brokers is killed while records are appended: they go on to the new leaders, none lost or repeated."""

import asyncio
from pathlib import Path

import pytest

from laneway.kafka.broker import EmbeddedKafka
from schemas.settings import KafkaSettings, Settings
from tests.support.api import free_port
from tests.support.appending import Sender
from tests.support.kafka import apply_topics, read_all


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_one_of_three_brokers_killed(tmp_path: Path) -> None:
    with EmbeddedKafka(data_dir=tmp_path / "kafka", port=free_port(), brokers=3) as kafka:
        settings = Settings(
            kafka=KafkaSettings(bootstrap_servers=kafka.bootstrap_servers, partitions=3, replication_factor=3)
        )
        topics = apply_topics(settings, ["t"])
        sender = Sender(settings, topics.events)
        await sender.until(300)
        await asyncio.to_thread(kafka.kill, 2)
        await sender.until(600)  # the leaders of its partitions are elsewhere now
        await asyncio.to_thread(kafka.start_nodes, 2)
        await sender.until(900)
        await sender.stop()
        sender.judge(read_all(kafka.bootstrap_servers, topics.events))
