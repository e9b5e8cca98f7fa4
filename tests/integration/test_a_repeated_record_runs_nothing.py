"""A waiting task that was moved to its lane twice runs once, though the worker changed in between."""

from collections.abc import Callable
from pathlib import Path

from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AdminClient

from schemas.headers import ATTEMPT, MAY_REPEAT
from schemas.settings import Settings
from schemas.task import Lane, Priority
from schemas.topics import Topics
from tests.support.kafka import Record, read_all
from tests.support.waiting import eventually
from tests.support.workers import outcomes, running_worker, submit

TYPE = "test.stumbling"
LANE = Lane(TYPE, Priority.NORMAL)


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
        await eventually(_committed_to_the_end(admin, settings, topics), within=30)
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


def _committed_to_the_end(admin: AdminClient, settings: Settings, topics: Topics) -> Callable[[], bool]:
    lane, group = topics.lane(LANE), topics.group(LANE)

    def reached() -> bool:
        asked = [ConsumerGroupTopicPartitions(group)]
        found = admin.list_consumer_group_offsets(asked)[group].result(10).topic_partitions or []
        committed = {partition.partition: partition.offset for partition in found}
        ends: dict[int, int] = {}
        for record in read_all(settings.bootstrap_servers, lane):
            ends[record.partition] = record.offset + 1
        return all(committed.get(number, -1) >= end for number, end in ends.items())

    return reached
