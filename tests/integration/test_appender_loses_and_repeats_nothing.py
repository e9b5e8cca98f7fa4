"""The broker is killed and comes back while records are appended: what was acknowledged is there once, in its order."""

import asyncio
from pathlib import Path

import pytest

from laneway.kafka.broker import EmbeddedKafka
from schemas.settings import KafkaSettings, Settings
from tests.support.api import free_port
from tests.support.appending import Sender
from tests.support.kafka import apply_topics, read_all


@pytest.mark.long
async def test_one_broker_killed(tmp_path: Path) -> None:
    with EmbeddedKafka(data_dir=tmp_path / "kafka", port=free_port(), brokers=1) as kafka:
        settings = Settings(kafka=KafkaSettings(bootstrap_servers=kafka.bootstrap_servers, partitions=3))
        topics = apply_topics(settings, ["t"])
        sender = Sender(settings, topics.events)
        await sender.until(300)
        await asyncio.to_thread(kafka.kill, 1)
        await asyncio.to_thread(kafka.start_nodes, 1)
        await sender.until(600)
        await sender.stop()
        sender.judge(read_all(kafka.bootstrap_servers, topics.events))
