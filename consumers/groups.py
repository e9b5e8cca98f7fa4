"""Consumer groups of results: who reads which type, how far each is, and moving one that nobody is in."""

import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final, NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from consumers.reader import Start
from laneway.kafka.clients import client_config
from schemas.errors import BrokerUnavailableError, ConfigurationError, ConsumerGroupError
from schemas.settings import Settings
from schemas.topics import POSITION_IN_SINK, Topics

_TIMEOUT: Final = 10.0
_UNUSED_GROUP: Final = "laneway-alone"
_NOBODY: Final = frozenset({"Empty", "Dead"})
"""States of groups without members."""
_LIVE: Final = frozenset(
    {KafkaError.UNKNOWN_MEMBER_ID, KafkaError.ILLEGAL_GENERATION, KafkaError.REBALANCE_IN_PROGRESS}
)
"""What a broker answers to somebody who is no member and commits for a group that has some."""


class Place(NamedTuple):
    """How a group stands in one partition."""

    partition: int
    committed: int | None
    """Offset that it reads next; ``None`` where it has committed nothing."""
    first: int
    """Oldest offset that the log still has."""
    end: int
    """Where the next outcome will lie."""
    in_sink: bool
    """Whether the offset only follows a position that a sink keeps."""

    @property
    def lag(self) -> int:
        """Outcomes that are not done; of a partition without a commit, all that the log has."""
        return max(0, self.end - max(self.committed or 0, self.first))


class Group(NamedTuple):
    """A consumer group and one type whose results it reads."""

    name: str
    type: str
    state: str
    """As Kafka calls it: ``Stable``, ``Empty``, …"""
    members: tuple[str, ...]
    """Host and client of each member that has a part of the type."""
    places: tuple[Place, ...]

    @property
    def lag(self) -> int:
        """Outcomes that are not done."""
        return sum(place.lag for place in self.places)


class Move(NamedTuple):
    """What a reset does to one partition."""

    partition: int
    old: int | None
    """``None`` where the group has committed nothing."""
    new: int


class ResultGroups:
    """Looks at the groups that read results, and moves them.

    Every question goes through a consumer, not through the admin client's requests to coordinators: of those,
    librdkafka can abort the process when the coordinator goes away (its issue 4605).

    Blocking: every method does, for as long as the broker takes, some ten seconds for each question at most.
    """

    def __init__(self, settings: Settings) -> None:
        self._topics = Topics(settings.kafka.topic_prefix)
        self._config = client_config(settings, "laneway-groups")

    def look(self) -> list[Group]:
        """Groups with members in, or commits for, a results topic of this system, by name and type.

        Raises:
            BrokerUnavailableError: no broker answers.
        """
        with self._asking(_UNUSED_GROUP) as asker:
            prefix = self._topics.results("")
            found = asker.list_topics(timeout=_TIMEOUT).topics
            partitions = {name: sorted(of.partitions) for name, of in found.items() if name.startswith(prefix)}
            ends = {name: self._ends(asker, name, numbers) for name, numbers in partitions.items()}
            listed = [each for each in self._known() if each.protocol_type in {"", "consumer"}]
        groups: list[Group] = []
        for each in sorted(listed, key=lambda group: group.id):
            with self._asking(each.id) as asker:
                for topic in sorted(partitions):
                    places = self._places(asker, topic, ends[topic])
                    members = tuple(
                        f"{member.client_host.lstrip('/')} {member.client_id}"
                        for member in each.members
                        if topic in assigned_topics(member.assignment or b"")
                    )
                    if members or any(place.committed is not None for place in places):
                        groups.append(Group(each.id, topic.removeprefix(prefix), each.state, members, tuple(places)))
        return groups

    def moves(self, group: str, type_name: str, to: Start) -> list[Move]:
        """What a reset would do; changes nothing.

        Args:
            group: its full name. One that has committed nothing yet may be placed, too.
            type_name: whose results it reads.
            to: ``"earliest"``, ``"latest"``, a time (the first outcome published at or after it), or an offset.

        Raises:
            BrokerUnavailableError: no broker answers.
            ConfigurationError: there is no such topic.
            ConsumerGroupError: it has members, a sink keeps its position, or a partition has no such offset.
        """
        self._refuse_live(group)
        with self._asking(group) as asker:
            return self._moves(asker, group, type_name, to)

    def reset(self, group: str, type_name: str, to: Start) -> list[Move]:
        """Move a group; what ``moves`` says holds.

        Nobody is moved behind their back: the broker itself refuses the commit where a member has come meanwhile.

        Returns:
            What was done.
        """
        self._refuse_live(group)
        topic = self._topics.results(type_name)
        with self._asking(group) as asker:
            moves = self._moves(asker, group, type_name, to)
            wanted = [TopicPartition(topic, move.partition, move.new) for move in moves]
            done = asker.commit(offsets=wanted, asynchronous=False)
            for each in done or ():
                if each.error is not None:
                    raise KafkaException(each.error)
        return moves

    def _moves(self, asker: Consumer, group: str, type_name: str, to: Start) -> list[Move]:
        topic = self._topics.results(type_name)
        found = asker.list_topics(topic, timeout=_TIMEOUT).topics[topic]
        if found.error is not None:
            raise ConfigurationError(topic, found.error.str(), "a topic that is there; see `laneway topics plan`")
        places = self._places(asker, topic, self._ends(asker, topic, sorted(found.partitions)))
        if any(place.in_sink for place in places):
            raise ConsumerGroupError(
                f"group {group}: its sink keeps the position; take another table or folder to read {type_name} again"
            )
        targets = self._targets(asker, topic, places, to)
        for place in places:
            if not place.first <= targets[place.partition] <= place.end:
                raise ConsumerGroupError(
                    f"{topic}-{place.partition} has no offset {targets[place.partition]}; "
                    f"it has {place.first} to {place.end}"
                )
        return [Move(place.partition, place.committed, targets[place.partition]) for place in places]

    @staticmethod
    def _targets(asker: Consumer, topic: str, places: list[Place], to: Start) -> dict[int, int]:
        if isinstance(to, int):
            return {place.partition: to for place in places}
        if isinstance(to, datetime):
            at = int(to.timestamp() * 1000)
            asked = [TopicPartition(topic, place.partition, at) for place in places]
            found = {each.partition: each.offset for each in asker.offsets_for_times(asked, timeout=_TIMEOUT)}
            # Negative where everything is older than that.
            return {
                place.partition: place.end if found[place.partition] < 0 else found[place.partition] for place in places
            }
        return {place.partition: place.first if to == "earliest" else place.end for place in places}

    def _refuse_live(self, group: str) -> None:
        with self._telling(group):
            state = next((each.state for each in self._known() if each.id == group), "Empty")
        if state not in _NOBODY:
            raise ConsumerGroupError(f"group {group} is live ({state}): stop its members first")

    def _known(self) -> list[Any]:  # GroupMetadata, whose attributes the client's stubs all type as None
        with warnings.catch_warnings():
            # Its successors ask coordinators: see above.
            warnings.simplefilter("ignore", DeprecationWarning)
            return list(AdminClient(self._config).list_groups(timeout=_TIMEOUT))

    @staticmethod
    def _ends(asker: Consumer, topic: str, numbers: list[int]) -> dict[int, tuple[int, int]]:
        return {
            each: asker.get_watermark_offsets(TopicPartition(topic, each), timeout=_TIMEOUT, cached=False)
            for each in numbers
        }

    @staticmethod
    def _places(asker: Consumer, topic: str, ends: dict[int, tuple[int, int]]) -> list[Place]:
        committed = asker.committed([TopicPartition(topic, each) for each in ends], timeout=_TIMEOUT)
        return [
            Place(
                each.partition,
                each.offset if each.offset >= 0 else None,
                *ends[each.partition],
                in_sink=each.metadata == POSITION_IN_SINK,
            )
            for each in committed
        ]

    @contextmanager
    def _asking(self, group: str) -> Iterator[Consumer]:
        """A consumer that never joins ``group`` and may ask and commit in its name."""
        with self._telling(group):
            consumer = Consumer({**self._config, "group.id": group, "enable.auto.commit": False})
            try:
                yield consumer
            finally:
                consumer.close()

    @contextmanager
    def _telling(self, group: str) -> Iterator[None]:
        try:
            yield
        except KafkaException as error:
            cause: KafkaError = error.args[0]
            if cause.code() in _LIVE:
                raise ConsumerGroupError(f"group {group} is live: a member came meanwhile") from error
            raise BrokerUnavailableError(
                f"the broker does not tell about group {group}: {cause.str()} ({cause.name()})"
            ) from error


def assigned_topics(assignment: bytes) -> set[str]:
    """Topics in a member's assignment, as Kafka's consumer protocol writes it; empty while it has none."""
    topics: set[str] = set()
    if len(assignment) < 6:
        return topics
    (count,) = struct.unpack_from(">i", assignment, 2)
    at = 6
    for _ in range(count):
        (length,) = struct.unpack_from(">h", assignment, at)
        at += 2
        topics.add(assignment[at : at + length].decode())
        (partitions,) = struct.unpack_from(">i", assignment, at + length)
        at += length + 4 + 4 * partitions
    return topics
