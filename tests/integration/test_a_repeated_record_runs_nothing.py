"""A task whose record comes to its lane twice runs once, though the worker changed in between."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AdminClient

from schemas.headers import ATTEMPT, MAY_REPEAT, Delivery, delivery_headers
from schemas.settings import Settings
from schemas.task import Lane, Priority
from schemas.topics import Topics
from tests.support.kafka import Record, produce_raw, read_all
from tests.support.waiting import eventually
from tests.support.workers import outcomes, running_worker, submit

TYPE = "test.stumbling"
LANE = Lane(TYPE, Priority.NORMAL)
LEDGER = Lane("test.ledger", Priority.NORMAL)


async def test_a_waiting_task_that_was_moved_twice_runs_once(settings: Settings, tmp_path: Path) -> None:
    topics, ledger = Topics(settings.kafka.topic_prefix), tmp_path / "ledger"
    lane, rung = topics.lane(LANE), topics.retry("1s")
    with running_worker(settings, tmp_path / "first.log", TYPE) as worker:
        await worker.ready()
        submit(settings, TYPE, [{"path": str(ledger), "stumbles": 1}] * 3)
        await outcomes(settings, TYPE, 3)
        assert worker.stop() == 0
    moved = read_all(settings.bootstrap_servers, rung)
    assert len(moved) == 3
    # As after a crash between the move and its commit.
    admin = AdminClient({"bootstrap.servers": settings.bootstrap_servers})
    back = [TopicPartition(rung, number, 0) for number in {record.partition for record in moved}]
    admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(topics.timers_group, back)])[
        topics.timers_group
    ].result(10)
    with running_worker(settings, tmp_path / "second.log", TYPE) as worker:
        await worker.ready()
        # Three first runs, three second ones, and those again.
        await eventually(lambda: len(read_all(settings.bootstrap_servers, lane)) == 9, within=30)
        await eventually(_committed_to_the_end(admin, settings, topics, LANE), within=30)
        assert worker.process.poll() is None
    assert all(MAY_REPEAT in record.headers for record in _copies(read_all(settings.bootstrap_servers, lane)))
    assert ledger.read_text().count("start") == 6


def _copies(records: list[Record]) -> list[Record]:
    seen: set[tuple[bytes | None, bytes | None]] = set()
    again = []
    for record in records:
        run = record.value, record.header(ATTEMPT)
        if run in seen:
            again.append(record)
        seen.add(run)
    return again


def _committed_to_the_end(admin: AdminClient, settings: Settings, topics: Topics, of: Lane) -> Callable[[], bool]:
    lane, group = topics.lane(of), topics.group(of)

    def reached() -> bool:
        asked = [ConsumerGroupTopicPartitions(group)]
        found = admin.list_consumer_group_offsets(asked)[group].result(10).topic_partitions or []
        committed = {partition.partition: partition.offset for partition in found}
        ends: dict[int, int] = {}
        for record in read_all(settings.bootstrap_servers, lane):
            ends[record.partition] = record.offset + 1
        return all(committed.get(number, -1) >= end for number, end in ends.items())

    return reached


@pytest.mark.long
async def test_a_record_that_comes_long_after_its_task_has_ended_runs_nothing(
    settings: Settings, tmp_path: Path
) -> None:
    ledger = tmp_path / "ledger"
    with running_worker(settings, tmp_path / "first.log", LEDGER.type) as worker:
        await worker.ready()
        created_at = datetime.now(UTC)
        (task_id,) = submit(settings, LEDGER.type, [{"path": str(ledger)}], created_at=created_at)
        await outcomes(settings, LEDGER.type, 1)
        assert worker.stop() == 0
    ended = time.monotonic()
    topics = Topics(settings.kafka.topic_prefix)
    lane = topics.lane(LEDGER)
    (first,) = read_all(settings.bootstrap_servers, lane)
    with running_worker(settings, tmp_path / "second.log", LEDGER.type) as worker:
        await worker.ready()
        # Longer than clocks are taken to differ: by the record's own time nothing would be found.
        await eventually(lambda: time.monotonic() - ended > 12, within=20)
        again = delivery_headers(Delivery(repeated=True, since=created_at))
        produce_raw(
            settings.bootstrap_servers, lane, [first.value], key=first.key, partition=first.partition, headers=again
        )
        admin = AdminClient({"bootstrap.servers": settings.bootstrap_servers})
        await eventually(_committed_to_the_end(admin, settings, topics, LEDGER), within=30)
    assert ledger.read_text().count(f"start {task_id}") == 1
