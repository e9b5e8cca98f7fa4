"""`queued` that comes to lie behind `succeeded` deceives nobody for long: the furthest status is appended once more."""

from pathlib import Path

from laneway.ids import new_id
from schemas import codec
from schemas.settings import Settings
from schemas.status import State, Status
from schemas.topics import Topics, partition_of
from tests.support.api import running_api
from tests.support.kafka import produce_raw, read_all
from tests.support.statuses import status_of
from tests.support.waiting import eventually


async def test_the_last_record_is_the_furthest(settings: Settings, tmp_path: Path) -> None:
    topic = Topics(settings.kafka.topic_prefix).status
    with running_api(settings, tmp_path / "api.log") as api:
        await api.ready()
        task_id = new_id()
        for state in (State.SUCCEEDED, State.QUEUED):
            value = codec.encode(status_of(task_id, state))
            number = partition_of(task_id, settings.kafka.partitions)
            produce_raw(settings.bootstrap_servers, topic, [value], key=task_id.encode(), partition=number)

        def last() -> State:
            records = [each for each in read_all(settings.bootstrap_servers, topic) if each.key == task_id.encode()]
            return codec.decode(records[-1].value, Status).state

        await eventually(lambda: last() is State.SUCCEEDED, within=20, what="a mended status")
