"""A worker that dies between a task's end and its callback's, or before it commits either, posts it exactly once."""

from pathlib import Path

import pytest
from confluent_kafka import ConsumerGroupTopicPartitions
from confluent_kafka.admin import AdminClient

from laneway.callbacks import callback_id
from schemas import codec
from schemas.settings import Settings
from schemas.status import State
from schemas.task import CALLBACK_TYPE, Lane, Priority, Task
from schemas.topics import Topics
from tests.support.kafka import read_all
from tests.support.receivers import Answer, running_receiver, with_callbacks
from tests.support.waiting import eventually
from tests.support.workers import outcomes, running_worker, submit

ECHO = "test.echo"


@pytest.mark.long
@pytest.mark.parametrize(
    "crash_at",
    [
        # Of the task: its callback is not in the log.
        "after_status:1",
        # Of the task: its callback is, and the task's record is delivered again.
        "after_result:1",
        # Of the callback: both records are delivered again.
        "after_result:2",
    ],
)
async def test_it_does(settings: Settings, tmp_path: Path, crash_at: str) -> None:
    # Nothing is committed before the crash.
    worker_settings = settings.worker.model_copy(update={"commit_interval": 5.0})
    settings = with_callbacks(settings).model_copy(update={"crash_at": crash_at, "worker": worker_settings})
    topics = Topics(settings.kafka.topic_prefix)
    lanes = [Lane(ECHO, Priority.NORMAL), Lane(CALLBACK_TYPE, Priority.NORMAL)]
    with (
        running_receiver(lambda path, before: Answer(200)) as receiver,
        running_worker(settings, tmp_path / "worker.log", ECHO, CALLBACK_TYPE) as worker,
    ):
        await worker.ready()
        (task_id,) = submit(settings, ECHO, [{"n": 1}], callback_url=f"{receiver.address}/once")
        await outcomes(settings, CALLBACK_TYPE, 1)
        await eventually((settings.data_dir / f"crashed-at-{crash_at[:-2]}").exists, within=30)
        await eventually(lambda: all(_through(settings, topics, lane) for lane in lanes), within=60)
        (request,) = receiver.requests
    assert request.headers["webhook-id"] == callback_id(task_id, 1)
    (ended,) = (await outcomes(settings, CALLBACK_TYPE, 1)).values()
    assert (ended.state, ended.attempt) == (State.SUCCEEDED, 1)
    made = [codec.decode(record.value, Task) for record in read_all(settings.bootstrap_servers, topics.lane(lanes[1]))]
    assert {task.id for task in made} == {callback_id(task_id, 1)}
    assert len(made) == (1 if crash_at.startswith("after_status") else 2)


def _through(settings: Settings, topics: Topics, lane: Lane) -> bool:
    """Whether everything of a lane is committed."""
    admin = AdminClient({"bootstrap.servers": settings.bootstrap_servers})
    group = topics.group(lane)
    found = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)])[group].result(10)
    committed = {each.partition: each.offset for each in found.topic_partitions or []}
    records = read_all(settings.bootstrap_servers, topics.lane(lane))
    return all(committed.get(record.partition, -1) > record.offset for record in records)
