"""How much of each lane its workers have not committed yet, asked of the broker."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Final, NamedTuple

from confluent_kafka import Consumer, ConsumerGroupState, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from laneway.kafka.clients import client_config
from laneway.kafka.offsets import EARLIEST, LATEST, OffsetAsker
from schemas.errors import BrokerUnavailableError
from schemas.settings import Settings
from schemas.task import Lane
from schemas.topics import RUNGS, Topics

_TIMEOUT: Final = 5.0
_AT_ONCE: Final = 16
"""Groups that are asked for side by side."""


class LaneProgress(NamedTuple):
    """How far a lane's workers are."""

    lag: int
    """Records that are not committed."""
    done: int
    """Records that are: a sum of offsets, of use beside an earlier one alone."""


class LaneLags:
    """Asks the broker.

    Blocking: ``ask`` does, some milliseconds, at most some seconds.
    """

    def __init__(self, settings: Settings) -> None:
        self._topics = Topics(settings.kafka.topic_prefix)
        self._partitions = settings.kafka.partitions
        self._config = client_config(settings, "laneway-lags")
        self._admin: AdminClient | None = None
        self._offsets = OffsetAsker(settings, "laneway-lags")

    def ask(self, lanes: Sequence[Lane]) -> dict[Lane, LaneProgress]:
        """How far each lane's workers are.

        Raises:
            BrokerUnavailableError: the broker does not tell.
        """
        try:
            found = self._progress({self._topics.lane(lane): self._topics.group(lane) for lane in lanes})
        except (BrokerUnavailableError, KafkaException) as error:
            raise BrokerUnavailableError(f"the broker does not tell how long the lanes are: {error}") from error
        return {lane: found[self._topics.lane(lane)] for lane in lanes}

    def waiting(self) -> dict[str, int]:
        """Records on each rung of the ladder of waiting topics that are not moved on yet.

        Raises:
            BrokerUnavailableError: the broker does not tell.
        """
        try:
            found = self._progress({self._topics.retry(rung): self._topics.timers_group for rung in RUNGS})
        except (BrokerUnavailableError, KafkaException) as error:
            raise BrokerUnavailableError(f"the broker does not tell how many tasks wait: {error}") from error
        return {rung: found[self._topics.retry(rung)].lag for rung in RUNGS}

    def ahead(self, lane: Lane, number: int, at: datetime) -> int:
        """Records of a lane's partition that were there at ``at`` and are not committed: an estimate.

        What is done out of turn is counted until everything before it is; records of the same millisecond are not.

        Raises:
            BrokerUnavailableError: the broker does not tell.
        """
        topic = self._topics.lane(lane)
        consumer = Consumer({**self._config, "group.id": self._topics.group(lane), "enable.auto.commit": False})
        try:
            first, end = consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=_TIMEOUT)
            (done,) = consumer.committed([TopicPartition(topic, number)], timeout=_TIMEOUT)
            asked = TopicPartition(topic, number, int(at.timestamp() * 1000))
            (found,) = consumer.offsets_for_times([asked], timeout=_TIMEOUT)
        except KafkaException as error:
            raise BrokerUnavailableError(f"the broker does not tell what is ahead in {lane}: {error}") from error
        finally:
            consumer.close()
        for each in (done, found):
            if each.error is not None:
                raise BrokerUnavailableError(f"the broker does not tell what is ahead in {lane}: {each.error}")
        # Nothing as late as that is told as an offset below zero: then all that is there was before.
        return max(0, (found.offset if found.offset >= 0 else end) - max(done.offset, first))

    def manned(self, lane: Lane) -> bool:
        """Whether the lane's group has members.

        Raises:
            BrokerUnavailableError: not every broker tells its groups.
        """
        self._admin = self._admin or AdminClient(self._config)
        group = self._topics.group(lane)
        try:
            # Not by `describe_consumer_groups`, which asks a coordinator: see `_committed`.
            listed = self._admin.list_consumer_groups(request_timeout=_TIMEOUT).result(_TIMEOUT + 1)
        except (KafkaException, TimeoutError) as error:
            self._admin = None
            raise BrokerUnavailableError(f"the broker does not tell who works: {error}") from error
        found = [each.state for each in listed.valid if each.group_id == group]
        if not found and listed.errors:
            raise BrokerUnavailableError(f"a broker does not tell who works: {listed.errors[0]}")
        return any(state not in (ConsumerGroupState.EMPTY, ConsumerGroupState.DEAD) for state in found)

    def _progress(self, groups: Mapping[str, str]) -> dict[str, LaneProgress]:
        """How far the groups of topics have come in them."""
        every = [(topic, number) for topic in groups for number in range(self._partitions)]
        firsts = self._offsets.ask(every, EARLIEST, within=_TIMEOUT)
        ends = self._offsets.ask(every, LATEST, within=_TIMEOUT)
        of_group: dict[str, list[TopicPartition]] = {}
        for topic, number in every:
            of_group.setdefault(groups[topic], []).append(TopicPartition(topic, number))
        committed: dict[tuple[str, int], int] = {}
        # Each question waits for the broker most of its time, and there are as many as lanes.
        with ThreadPoolExecutor(_AT_ONCE, "laneway-lags") as threads:
            for found in threads.map(self._committed, of_group.keys(), of_group.values()):
                committed |= found
        lags, dones = dict.fromkeys(groups, 0), dict.fromkeys(groups, 0)
        for place in every:
            done = committed.get(place, -1)
            lags[place[0]] += max(0, ends[place] - max(done, firsts[place]))
            dones[place[0]] += max(0, done)
        return {topic: LaneProgress(lags[topic], dones[topic]) for topic in groups}

    def _committed(self, group: str, places: list[TopicPartition]) -> dict[tuple[str, int], int]:
        """By a consumer: librdkafka's admin client dies of an answer that names another coordinator."""
        consumer = Consumer({**self._config, "group.id": group, "enable.auto.commit": False})
        try:
            found = consumer.committed(places, timeout=_TIMEOUT)
            return {(each.topic, each.partition): each.offset for each in found}
        finally:
            consumer.close()
