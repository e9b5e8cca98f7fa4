"""Done-markers: what a former owner of a partition had made durable before it could commit.

``status`` has the same partition number for a task as its lane, so whoever takes over a partition of a lane reads that
part of ``status``, from where the last commit says, and knows which redelivered records are over.
"""

import re
from typing import Final, NamedTuple

import structlog
from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    Consumer,
    ConsumerGroupTopicPartitions,
    KafkaException,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient

from laneway.kafka.clients import client_config
from schemas import codec
from schemas.errors import BrokerUnavailableError, UndecodableRecordError
from schemas.settings import Settings
from schemas.status import RANK, State, Status, supersedes
from schemas.task import Lane
from schemas.topics import Topics

log = structlog.get_logger(__name__)

_TIMEOUT: Final = 10.0
# librdkafka copies a commit's metadata without its end, and the binding reads on until it meets a NUL: so we write one.
_METADATA: Final = re.compile(r"status@(\d+);")


def commit_metadata(marker: int | None) -> str:
    """What a commit says beside its offset: where in ``status`` a successor starts to read."""
    return "" if marker is None else f"status@{marker};\0"


def read_commit_metadata(commit: TopicPartition | None) -> int | None:
    """Where to start, as ``commit_metadata`` said; ``None`` for a commit of somebody else."""
    try:
        found = _METADATA.match((commit.metadata if commit is not None else None) or "")
    except UnicodeDecodeError:
        return None
    return int(found[1]) if found else None


class Takeover(NamedTuple):
    """What the new owner of a partition has to know."""

    moved_on: dict[str, Status]
    """By task id, the furthest status that says a run is over (final, or waiting for the next run)."""
    redelivered_until: int
    """End of the lane's partition at the time: records beyond it were nobody's before."""


class MarkerReader:
    """Reads done-markers.

    Blocking: all methods block; call them in one thread at a time.
    """

    def __init__(self, settings: Settings) -> None:
        self._topics = Topics(settings.kafka.topic_prefix)
        config = client_config(settings, "laneway-markers")
        self._admin = AdminClient(config)
        self._consumer = Consumer(
            {
                **config,
                "group.id": f"{settings.kafka.topic_prefix}markers",  # required by the client; never joined
                "enable.auto.commit": False,
                "enable.partition.eof": False,
                "fetch.wait.max.ms": 20,
            }
        )

    def take_over(self, lane: Lane, partitions: set[int]) -> dict[int, Takeover]:
        """What former owners of these partitions had finished beyond their last commit.

        Raises:
            BrokerUnavailableError: the broker cannot tell now.
        """
        try:
            return self._take_over(lane, partitions)
        except KafkaException as error:
            raise BrokerUnavailableError(f"no done-markers for {lane}: {error.args[0].str()}") from error

    def close(self) -> None:
        """Release the client."""
        self._consumer.close()

    def _take_over(self, lane: Lane, partitions: set[int]) -> dict[int, Takeover]:
        topic = self._topics.lane(lane)
        asked = [TopicPartition(topic, number) for number in sorted(partitions)]
        future = self._admin.list_consumer_group_offsets(
            [ConsumerGroupTopicPartitions(self._topics.group(lane), asked)], request_timeout=_TIMEOUT
        )
        answer = next(iter(future.values())).result(_TIMEOUT)
        commits = {found.partition: found for found in answer.topic_partitions}
        taken: dict[int, Takeover] = {}
        for number in partitions:
            low, high = self._consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=_TIMEOUT)
            commit = commits.get(number)
            committed = commit.offset if commit is not None and commit.offset >= 0 else low
            if max(low, committed) >= high:
                taken[number] = Takeover({}, high)
                continue
            start = read_commit_metadata(commit)
            if start is None:
                start = self._start(topic, number, max(low, committed))
            taken[number] = Takeover(self._read(number, start), high)
            log.info(
                "took over a partition with open records",
                position=f"{topic}-{number}@{committed}",
                records=high - committed,
                markers_from=start,
                over_already=len(taken[number].moved_on),
            )
        return taken

    def _start(self, topic: str, number: int, committed: int) -> int:
        """First offset of ``status`` that can tell of a record at or beyond ``committed``, without a commit of ours.

        Nothing can have been told of a record before the broker had it.
        """
        self._consumer.assign([TopicPartition(topic, number, committed)])
        record = self._consumer.poll(_TIMEOUT)
        if record is None or record.error():
            return OFFSET_BEGINNING
        asked = TopicPartition(self._topics.status, number, record.timestamp()[1])
        found = self._consumer.offsets_for_times([asked], timeout=_TIMEOUT)[0].offset
        return found if found >= 0 or found == OFFSET_END else OFFSET_BEGINNING

    def _read(self, number: int, start: int) -> dict[str, Status]:
        tp = TopicPartition(self._topics.status, number, start)
        low, high = self._consumer.get_watermark_offsets(TopicPartition(tp.topic, number), timeout=_TIMEOUT)
        moved_on: dict[str, Status] = {}
        if start == OFFSET_END or high <= max(start, low):
            return moved_on
        self._consumer.assign([tp])
        position = max(start, low)
        while position < high:
            batch = self._consumer.consume(1_000, timeout=0.05)
            if not batch:
                # Compaction may have taken the very last records: the consumer then stands at the end without one.
                position = self._consumer.position([TopicPartition(tp.topic, number)])[0].offset
                if position < 0:
                    position = start
                continue
            for record in batch:
                if record.error():
                    raise KafkaException(record.error())
                position = (record.offset() or 0) + 1
                self._note(record.value(), moved_on)
        return moved_on

    @staticmethod
    def _note(value: bytes | None, moved_on: dict[str, Status]) -> None:
        if value is None:
            return
        try:
            status = codec.decode(value, Status)
        except UndecodableRecordError as error:
            log.warning("unreadable status skipped", said=str(error))
            return
        if RANK[status.state] >= RANK[State.RETRYING] and supersedes(status, moved_on.get(status.id)):
            moved_on[status.id] = status
