"""What a commit says beside its offset comes back as it was, whatever its length."""

from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.structs import OffsetAndMetadata, TopicPartition

from schemas.settings import Settings
from streams.tracker import commit_metadata, read_commit_metadata
from tests.support.kafka import RunningKafka, apply_topics


async def test_a_commit_tells_where_the_markers_begin(kafka: RunningKafka, settings: Settings) -> None:
    topic = apply_topics(settings, ["test.echo"]).status
    group = f"{settings.kafka.topic_prefix}group"
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka.bootstrap_servers, group_id=group, enable_auto_commit=False)
    await consumer.start()
    coordinator: Any = consumer._coordinator
    try:
        partition = TopicPartition(topic, 0)
        consumer.assign([partition])
        for digits in range(1, 19):
            marker = 10 ** (digits - 1) + 7
            handed_over = digits % 2 == 0
            said = commit_metadata(marker, handed_over=handed_over)
            await consumer.commit({partition: OffsetAndMetadata(1, said)})
            found = await coordinator.fetch_committed_offsets([partition])
            assert read_commit_metadata(found[partition].metadata) == (marker, handed_over)
    finally:
        await consumer.stop()


def test_a_commit_of_somebody_else_tells_nothing() -> None:
    for said in (None, "", "theirs@12;", "status@12"):
        assert read_commit_metadata(said) == (None, False)
    assert commit_metadata(None) == ""
    assert read_commit_metadata(commit_metadata(None, handed_over=True)) == (None, True)
