"""The broker is killed and comes back while records are appended: what was acknowledged is there once, in its order."""

import asyncio
from collections import Counter
from pathlib import Path

from laneway.kafka.appender import LogAppender
from laneway.kafka.broker import EmbeddedKafka
from laneway.kafka.wire import encoded_record
from schemas.errors import BrokerUnavailableError
from schemas.settings import KafkaSettings, Settings
from tests.support.api import free_port
from tests.support.kafka import Record, apply_topics, read_all
from tests.support.waiting import eventually


async def test_one_broker_killed(tmp_path: Path) -> None:
    with EmbeddedKafka(data_dir=tmp_path / "kafka", port=free_port(), brokers=1) as kafka:
        settings = Settings(kafka=KafkaSettings(bootstrap_servers=kafka.bootstrap_servers, partitions=3))
        topics = apply_topics(settings, ["t"])
        sender = _Sender(settings, topics.events)
        await sender.until(300)
        await asyncio.to_thread(kafka.kill, 1)
        await asyncio.to_thread(kafka.start_node, 1)
        await sender.until(600)
        await sender.stop()
        sender.judge(read_all(kafka.bootstrap_servers, topics.events))


async def test_one_of_three_brokers_killed(tmp_path: Path) -> None:
    with EmbeddedKafka(data_dir=tmp_path / "kafka", port=free_port(), brokers=3) as kafka:
        settings = Settings(
            kafka=KafkaSettings(bootstrap_servers=kafka.bootstrap_servers, partitions=3, replication_factor=3)
        )
        topics = apply_topics(settings, ["t"])
        sender = _Sender(settings, topics.events)
        await sender.until(300)
        await asyncio.to_thread(kafka.kill, 2)
        await sender.until(600)  # the leaders of its partitions are elsewhere now
        await asyncio.to_thread(kafka.start_node, 2)
        await sender.until(900)
        await sender.stop()
        sender.judge(read_all(kafka.bootstrap_servers, topics.events))


class _Sender:
    """Appends numbers in three lines of one partition each; every one waits for its answer before the next."""

    def __init__(self, settings: Settings, topic: str) -> None:
        self._log = LogAppender(settings, "test", delivery_timeout=20.0)
        self._topic = topic
        self._stopping = False
        self._acknowledged: list[list[int]] = [[], [], []]
        self._refused: set[tuple[int, int]] = set()
        self._lines = [asyncio.create_task(self._append(line)) for line in range(3)]

    async def _append(self, line: int) -> None:
        number = 0
        while not self._stopping:
            number += 1
            record = encoded_record(self._topic, line, b"%d" % number, b"x" * 200, [("h", b"v")])
            try:
                appended = await self._log.send([record])
            except BrokerUnavailableError:
                self._refused.add((line, number))
            else:
                assert set(appended.last) == {(self._topic, line)}
                self._acknowledged[line].append(number)

    async def until(self, count: int) -> None:
        """Wait until so many are acknowledged in each line."""
        await eventually(
            lambda: all(len(each) >= count for each in self._acknowledged), within=90, what=f"{count} acknowledged"
        )

    async def stop(self) -> None:
        self._stopping = True
        await asyncio.gather(*self._lines)
        await self._log.close()

    def judge(self, records: list[Record]) -> None:
        for line, acknowledged in enumerate(self._acknowledged):
            found = [int(record.key or b"0") for record in records if record.partition == line]
            assert max(Counter(found).values()) == 1, "repeated"
            assert not set(acknowledged) - set(found), "lost"
            assert {number for number in found if (line, number) not in self._refused} == set(acknowledged)
            assert found == sorted(found), "out of order"
