"""The ledger of offsets: what every lane's group had committed, and where its partitions ended, each second."""

import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Final, NamedTuple

from confluent_kafka import Consumer, ConsumerGroupState, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, ListOffsetsResultInfo, OffsetSpec

from schemas.task import Lane
from schemas.topics import Topics

INTERVAL: Final = 1.0
_WITHIN: Final = 3.0
LATEST: Final[OffsetSpec] = OffsetSpec.latest()  # type: ignore[no-untyped-call]  # left open upstream


def ends_of(answers: "Mapping[TopicPartition, Future[ListOffsetsResultInfo]]") -> dict[tuple[str, int], int]:
    """What an admin client was told.

    Raises:
        KafkaException: not all; of a partition without a leader librdkafka tells -1001 as if it were an offset.
    """
    ends = {(place.topic, place.partition): future.result().offset for place, future in answers.items()}
    if any(end < 0 for end in ends.values()):
        raise KafkaException(KafkaError(KafkaError.LEADER_NOT_AVAILABLE))
    return ends


class Sample(NamedTuple):
    """One partition of a lane at one moment."""

    lane: str
    partition: int
    committed: int
    end: int
    at: float
    """Seconds since the epoch, taken after the answer: nothing in it is younger."""
    stable: bool
    """The group had members, and no rebalance was under way."""


class OffsetSampler:
    """Asks the broker each second, in a thread of its own; while the broker cannot answer there is no sample."""

    def __init__(self, bootstrap_servers: str, prefix: str, lanes: Sequence[Lane], partitions: int) -> None:
        self.samples: list[Sample] = []
        self.missed = 0
        self._topics = Topics(prefix)
        self._lanes = list(lanes)
        self._partitions = partitions
        self._new_admin = partial(
            AdminClient, {"bootstrap.servers": bootstrap_servers, "reconnect.backoff.max.ms": 500, "log_level": 0}
        )
        self._admin = self._new_admin()
        # Never subscribed, so no members. An AdminClient could ask the same, and librdkafka 2.16 ends the process when
        # the coordinator of a group has moved meanwhile.
        self._consumers = {
            lane: Consumer(
                {"bootstrap.servers": bootstrap_servers, "group.id": self._topics.group(lane), "log_level": 0}
            )
            for lane in self._lanes
        }
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="offsets", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stopping.set()
        self._thread.join(30)
        for consumer in self._consumers.values():
            consumer.close()

    def lag(self) -> int:
        """Records that were not committed at the latest sample of each partition; -1 before there is one of each."""
        latest = {(sample.lane, sample.partition): sample for sample in self.samples}
        if len(latest) < len(self._lanes) * self._partitions:
            return -1
        return sum(max(0, sample.end - sample.committed) for sample in latest.values())

    def ask(self) -> list[Sample]:
        """One sample of every partition, now.

        Raises:
            KafkaException: the broker cannot say.
        """
        committed = {
            (found.topic, found.partition): max(0, found.offset)
            for lane, consumer in self._consumers.items()
            for found in consumer.committed(self._asked(lane), timeout=_WITHIN)
        }
        ending = self._admin.list_offsets(
            {tp: LATEST for lane in self._lanes for tp in self._asked(lane)}, request_timeout=_WITHIN
        )
        # Not by `describe_consumer_groups`, of which the same holds as of commits (librdkafka #4605).
        groups = self._admin.list_consumer_groups(request_timeout=_WITHIN).result().valid
        stable = {group.group_id for group in groups if group.state == ConsumerGroupState.STABLE}
        ends = ends_of(ending)
        now = time.time()
        return [
            Sample(
                lane=str(lane),
                partition=tp.partition,
                committed=committed[tp.topic, tp.partition],
                end=ends[tp.topic, tp.partition],
                at=now,
                stable=self._topics.group(lane) in stable,
            )
            for lane in self._lanes
            for tp in self._asked(lane)
        ]

    def _asked(self, lane: Lane) -> list[TopicPartition]:
        return [TopicPartition(self._topics.lane(lane), number) for number in range(self._partitions)]

    def _sample(self) -> None:
        while not self._stopping.wait(INTERVAL):
            try:
                self.samples += self.ask()
            except KafkaException:
                self.missed += 1
                # An admin client asks with the leader epoch that it once learnt, for ever: a new one learns anew.
                self._admin = self._new_admin()
