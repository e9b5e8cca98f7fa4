"""A real Kafka for tests, and plain clients to look into it that share nothing with Laneway's own."""

import contextlib
import gc
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple, cast

from confluent_kafka import OFFSET_END, Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from laneway.kafka.admin import TopicAdmin
from laneway.kafka.broker import EmbeddedKafka
from schemas.settings import Settings, load_settings
from schemas.topics import Topics

Codec = Literal["none", "gzip", "snappy", "lz4", "zstd"]


class RunningKafka(NamedTuple):
    """A cluster that answers."""

    bootstrap_servers: str
    origin: str
    """Which one it is, in words."""


class Record(NamedTuple):
    """A record as any Kafka client sees it."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]
    timestamp_ms: int

    def header(self, name: str) -> bytes | None:
        """The last value of a header, or ``None``."""
        return dict(self.headers).get(name)


@contextmanager
def running_kafka(data_dir: Path) -> Iterator[RunningKafka]:
    """A cluster for as long as the block runs: the one that the settings name, else one in Docker, else our own.

    Args:
        data_dir: where our own keeps its data.
    """
    named = load_settings().kafka.bootstrap_servers
    if named:
        yield RunningKafka(named, "the cluster of LANEWAY_KAFKA__BOOTSTRAP_SERVERS")
    elif _docker_answers():
        from testcontainers.community.kafka import KafkaContainer

        with KafkaContainer().with_kraft() as container:
            yield RunningKafka(container.get_bootstrap_server(), "a container (testcontainers)")
    else:
        broker = EmbeddedKafka(data_dir=data_dir, port=0, brokers=1)
        broker.start()
        try:
            yield RunningKafka(broker.bootstrap_servers, "the embedded broker")
        finally:
            broker.stop()


def _docker_answers() -> bool:
    from docker.client import DockerClient
    from docker.errors import DockerException

    # Where no engine answers, the SDK leaves its socket to the garbage collector, whose complaint is no test's fault.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        try:
            DockerClient.from_env(timeout=3).close()  # asks the engine for its version
            answers = True
        except DockerException:
            answers = False
        gc.collect()
    return answers


def apply_topics(settings: Settings, types: Sequence[str]) -> Topics:
    """Create every topic that these types need, as ``laneway topics apply`` does."""
    topics = Topics(settings.kafka.topic_prefix)
    specs = topics.specs(
        list(types), partitions=settings.kafka.partitions, replication_factor=settings.kafka.replication_factor
    )
    TopicAdmin(settings).apply(specs)
    return topics


def delete_topics(settings: Settings) -> None:
    """Take away every topic under the settings' prefix, as far as the broker can now: one of many tests stays quick."""
    admin = AdminClient({"bootstrap.servers": settings.bootstrap_servers})
    with contextlib.suppress(KafkaException):
        mine = [name for name in admin.list_topics(timeout=5).topics if name.startswith(settings.kafka.topic_prefix)]
        for deletion in admin.delete_topics(mine, request_timeout=5).values() if mine else ():
            deletion.result(10)


def empty_topic(settings: Settings, topic: str) -> None:
    """Take away every record that a topic has now, as retention does."""
    admin = AdminClient({"bootstrap.servers": settings.bootstrap_servers})
    whole = [TopicPartition(topic, number, OFFSET_END) for number in range(settings.kafka.partitions)]
    for deletion in admin.delete_records(whole).values():
        deletion.result(10)


def read_all(bootstrap_servers: str, topic: str, *, within: float = 20.0) -> list[Record]:
    """Every record of a topic from its start to its present end, by partition and offset.

    Raises:
        TimeoutError: the end was not reached in time, or there is no such topic.
    """
    deadline = time.monotonic() + within
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap_servers,
            "group.id": "tests-read-all",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "enable.partition.eof": True,
        }
    )
    records: list[Record] = []
    try:
        partitions = set(consumer.list_topics(topic, timeout=within).topics[topic].partitions)
        if not partitions:
            raise TimeoutError(f"no topic {topic}")
        consumer.assign([TopicPartition(topic, partition, 0) for partition in partitions])
        while partitions:
            message = consumer.poll(max(0.0, deadline - time.monotonic()))
            if message is None:
                raise TimeoutError(f"{topic}: partitions {sorted(partitions)} not read to their end in {within} s")
            error = message.error()
            if error is None:
                records.append(_record(message))
            elif error.code() == KafkaError._PARTITION_EOF:
                partitions.discard(message.partition() or 0)
            elif not error.retriable():
                raise TimeoutError(f"{topic}: {error.str()}")
    finally:
        consumer.close()
    return sorted(records, key=lambda record: (record.partition, record.offset))


def _record(message: Message) -> Record:
    headers = cast(
        "list[tuple[str, bytes | None]]", message.headers() or []
    )  # what a consumer is given, says librdkafka
    return Record(
        message.topic() or "",
        message.partition() or 0,
        message.offset() or 0,
        message.key(),
        message.value(),
        headers,
        message.timestamp()[1],
    )


def produce_raw(
    bootstrap_servers: str,
    topic: str,
    values: Sequence[bytes | None],
    *,
    key: bytes | None = None,
    partition: int = 0,
    headers: Sequence[tuple[str, bytes]] = (),
    codec: Codec = "none",
) -> list[int]:
    """Put bytes straight onto a topic, as a foreign client would; answers their offsets.

    librdkafka sends a batch plain when compressing does not shrink it: where ``codec`` is the point, give values that
    shrink.

    Raises:
        AssertionError: the broker did not take one of them.
    """
    producer = Producer({"bootstrap.servers": bootstrap_servers, "compression.type": codec, "linger.ms": 20})
    offsets: dict[int, int] = {}
    refused: list[str] = []

    def answer(index: int) -> Callable[[KafkaError | None, Message], None]:
        def take(error: KafkaError | None, message: Message) -> None:
            if error is not None:
                refused.append(error.str())
            offsets[index] = message.offset() or 0

        return take

    for index, value in enumerate(values):
        producer.produce(topic, value, key, partition, on_delivery=answer(index), headers=list(headers))
    left = producer.flush(20)
    assert not refused, f"{topic}: {refused}"
    assert not left, f"{topic}: {left} records got no answer"
    return [offsets[index] for index in range(len(values))]
