"""SIGKILL of a broker that leads partitions: nobody is told less of the log than was acknowledged, then or later."""

import asyncio
import threading
import time

import pytest

from laneway.kafka import offsets
from laneway.kafka.clients import ClientLogger
from laneway.kafka.ends import LogEnds
from laneway.kafka.offsets import EARLIEST, LATEST, OffsetAsker
from schemas.errors import BrokerUnavailableError
from schemas.settings import KafkaSettings, Settings
from tests.support.chaos.cluster import StruckCluster
from tests.support.chaos.faults import FaultLog
from tests.support.kafka import apply_topics, delete_topics, produce_raw
from tests.support.waiting import eventually

PARTITIONS = 6
ANSWERS = 50


async def test_ends_are_true_or_not_told(three_brokers: StruckCluster) -> None:
    settings = Settings(
        kafka=KafkaSettings(
            bootstrap_servers=three_brokers.bootstrap_servers,
            topic_prefix="ends.",
            partitions=PARTITIONS,
            replication_factor=3,
        )
    )
    topics = apply_topics(settings, [])
    topic = topics.events
    true_ends = {(topic, number): number + 1 for number in range(PARTITIONS)}
    for (_, number), count in true_ends.items():
        produce_raw(three_brokers.direct_servers, topic, [b"x"] * count, partition=number)
    # Two topics, for which metadata is asked in another way than for one.
    places = [(each, number) for each in (topic, topics.audit) for number in range(PARTITIONS)]
    ends, asker = LogEnds(settings, [topic]), OffsetAsker(settings, "test")
    assert await ends.ask() == true_ends
    assert await asyncio.to_thread(asker.ask, places, EARLIEST, within=10) == dict.fromkeys(places, 0)
    leader = three_brokers.leader(topic)
    faults = FaultLog()
    killed = three_brokers.killed(faults, leader)
    await asyncio.to_thread(killed.__enter__)
    try:
        # Every answer from here on is by another leader.
        answers = refusals = 0
        while answers < ANSWERS:
            try:
                assert await ends.ask() == true_ends
            except BrokerUnavailableError:
                refusals += 1
            else:
                answers += 1
        assert refusals <= 3, "one question outlasts what a fail-over mostly takes"
        # While a broker is away, who asks waits, and burns nothing.
        began, cpu = time.monotonic(), time.process_time()
        for _ in range(3):
            found = await asyncio.to_thread(asker.ask, places, LATEST, within=10)
            assert found == dict.fromkeys(places, 0) | true_ends
        assert time.process_time() - cpu < max(0.5, (time.monotonic() - began) / 2)
    finally:
        await asyncio.to_thread(killed.__exit__, None, None, None)
    assert await ends.ask() == true_ends
    tomorrow = int(time.time() * 1000) + 86_400_000
    assert await asyncio.to_thread(asker.ask, places, tomorrow, within=10) == dict.fromkeys(places, -1)
    await ends.close()
    asker.close()
    delete_topics(settings)


async def test_without_a_broker_nothing_is_told_and_nothing_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offsets, "IDLE_SECONDS", 3.0)
    heard: list[float] = []

    def hear(*_: object) -> None:
        heard.append(time.monotonic())
        raise OSError(28, "no space left on device")  # as a log may answer

    monkeypatch.setattr(ClientLogger, "log", hear)
    settings = Settings(kafka=KafkaSettings(bootstrap_servers="127.0.0.1:1", partitions=1))
    asker = OffsetAsker(settings, "test")
    began = time.monotonic()
    with pytest.raises(BrokerUnavailableError) as refused:
        await asyncio.to_thread(asker.ask, [("events", 0)], LATEST, within=1)
    asked_until = time.monotonic()
    assert str(refused.value)
    assert asked_until - began < 3
    # A client without a broker has more to say every second: it is heard while it is there, and soon it is not.
    await eventually(lambda: heard and heard[-1] > asked_until + 1)
    await eventually(lambda: "test-client" not in {thread.name for thread in threading.enumerate()}, within=10)
    asker.close()
    with pytest.raises(BrokerUnavailableError):
        asker.ask([("events", 0)], LATEST, within=1)


async def test_without_a_client_nothing_is_told() -> None:
    unusable = {"ssl.ca.location": "/nowhere", "security.protocol": "ssl"}
    settings = Settings(kafka=KafkaSettings(bootstrap_servers="127.0.0.1:1", client_options=unusable))
    with pytest.raises(BrokerUnavailableError):
        OffsetAsker(settings, "test").ask([("events", 0)], LATEST, within=1)
