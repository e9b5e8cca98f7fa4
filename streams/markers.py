"""Done-markers: what a former owner of a partition had made durable before it could commit.

``status`` has the same partition number for a task as its lane, so whoever takes over a partition of a lane reads that
part of ``status``, from where the last commit says, and knows which redelivered records are over.
"""

from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, NamedTuple

import msgspec
import structlog
from aiokafka.structs import OffsetAndMetadata
from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    Consumer,
    KafkaException,
    TopicPartition,
)
from msgspec import Struct

from laneway.kafka.clients import reader_config
from laneway.kafka.reading import records_until
from schemas import codec
from schemas.errors import BrokerUnavailableError, UndecodableRecordError
from schemas.settings import Settings
from schemas.status import RANK, State, Status, supersedes
from schemas.task import Lane
from schemas.topics import Topics
from streams.tracker import read_commit_metadata

log = structlog.get_logger(__name__)

_TIMEOUT: Final = 10.0
_CLOCKS_DIFFER: Final = timedelta(seconds=10)
_MOST_IN_WINDOW: Final = 200_000


class Takeover(NamedTuple):
    """What the new owner of a partition has to know."""

    moved_on: dict[str, Status]
    """By task id, the furthest status that says a run is over (final, or waiting for the next run), or under way."""
    start: int
    """Where the group goes on in the lane's partition."""
    redelivered_until: int
    """End of the lane's partition at the time: records beyond it were nobody's before."""
    read_from: int = 0
    """Where the read of the partition of ``status`` began."""
    read_until: int = 0
    """How far the partition of ``status`` was read."""

    @property
    def running(self) -> bool:
        """Whether something was told to run."""
        return any(status.state is State.RUNNING for status in self.moved_on.values())


class Question(NamedTuple):
    """What is asked of a partition of ``status``."""

    position: int | None
    """Where to read on; ``None`` when only ``since`` counts."""
    since: datetime | None
    """Also what was told from this time on; a little earlier, since clocks differ."""
    ids: Set[str]
    """The tasks that are asked for."""


class _Stated(Struct):
    """What a look at many statuses takes from each."""

    state: State


_STATED: Final = msgspec.json.Decoder(_Stated)


@dataclass
class _Window:
    """A stretch of a partition of ``status`` that was read, so that the next question begins where it ends."""

    first: int
    until: int
    moved_on: set[bytes] = field(default_factory=set)
    """Keys of which something was told there that can decide about a record."""


class MarkerReader:
    """Reads done-markers.

    Blocking: all methods block; call them in one thread at a time.
    """

    def __init__(self, settings: Settings) -> None:
        self.steps = 0
        """Records read so far; from any thread."""
        self._topics = Topics(settings.kafka.topic_prefix)
        self._consumer_config = {
            **reader_config(settings, "laneway-markers", "markers"),
            "enable.partition.eof": False,
            "queued.max.messages.kbytes": 8_192,  # else it fetches ahead as much as 64 MB that nobody asked for
            "fetch.wait.max.ms": 2,
        }
        self._consumer = Consumer(self._consumer_config)
        self._windows: dict[int, _Window] = {}

    def take_over(
        self, lane: Lane, commits: Mapping[int, OffsetAndMetadata | None], heard_out: Set[int]
    ) -> dict[int, Takeover]:
        """What former owners of these partitions had told beyond their last commits.

        Args:
            lane: of the partitions.
            commits: the last one of each.
            heard_out: partitions of which nothing more is told, though nobody handed them over in order.

        Returns:
            Only partitions of which nothing more is told by who had them: heard out, handed over, or with no open
            records.

        Raises:
            BrokerUnavailableError: the broker cannot tell now.
        """
        try:
            return self._take_over(lane, commits, heard_out)
        except (KafkaException, TimeoutError) as error:
            self._renew()
            raise BrokerUnavailableError(f"no done-markers for {lane}: {error}") from error

    def follow(self, lane: Lane, questions: Mapping[int, Question]) -> dict[int, Takeover]:
        """What was told of these tasks, by partition of ``status``.

        Raises:
            BrokerUnavailableError: the broker cannot tell now.
        """
        try:
            return {number: self._news(number, question) for number, question in questions.items()}
        except (KafkaException, TimeoutError) as error:
            self._renew()
            raise BrokerUnavailableError(f"no news of tasks that run elsewhere, {lane}: {error}") from error

    def forget(self) -> None:
        """Nobody will ask about records that may be repeated for a while."""
        self._windows.clear()

    def close(self) -> None:
        """Release the client."""
        self._consumer.close()

    def _renew(self) -> None:
        """Take a new client: one that saw its broker go may ask the wrong one for ever."""
        self._consumer.close()
        self._consumer = Consumer(self._consumer_config)

    def _take_over(
        self, lane: Lane, commits: Mapping[int, OffsetAndMetadata | None], heard_out: Set[int]
    ) -> dict[int, Takeover]:
        topic = self._topics.lane(lane)
        taken: dict[int, Takeover] = {}
        for number, commit in commits.items():
            low, high = self._consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=_TIMEOUT)
            committed = commit.offset if commit is not None and commit.offset >= 0 else low
            if max(low, committed) >= high:
                taken[number] = Takeover({}, max(low, committed), high)
                continue
            note = read_commit_metadata(commit.metadata if commit is not None else None)
            if not (note.handed_over or number in heard_out):
                # Who counts the time from now on may rely on this: the broker that has the partition answers.
                self._consumer.get_watermark_offsets(TopicPartition(self._topics.status, number), timeout=_TIMEOUT)
                continue
            start = note.marker
            if start is None:
                start = self._start(topic, number, max(low, committed))
            found = self._read(number, start)
            taken[number] = found._replace(start=max(low, committed), redelivered_until=high)
            log.info(
                "took over a partition with open records",
                position=f"{topic}-{number}@{committed}",
                records=high - committed,
                markers_from=start,
                told_already=len(found.moved_on),
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
        return self._at(number, record.timestamp()[1])

    def _news(self, number: int, question: Question) -> Takeover:
        first = self._first(number, question)
        if question.since is None or first == OFFSET_END:
            return self._read(number, first, question.ids)
        # A record that may be repeated mostly is not: what tells so is read once, however many are asked about.
        topic = self._topics.status
        low, high = self._consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=_TIMEOUT)
        first = max(first, low)
        window = self._windows.get(number)
        if window is None or not window.first <= first <= window.until or len(window.moved_on) > _MOST_IN_WINDOW:
            window = self._windows[number] = _Window(first, first)
        for record in records_until(self._consumer, topic, number, window.until, high):
            self.steps += 1
            if _may_decide(record.value()):
                window.moved_on.add(record.key() or b"")
        window.until = max(window.until, high)
        told = {task_id for task_id in question.ids if task_id.encode() in window.moved_on}
        found = self._read(number, first, told) if told else Takeover({}, 0, 0, first, high)
        # Not as far as that read came: what lies beyond was looked at for those in ``told`` alone.
        return found._replace(read_until=high)

    def _first(self, number: int, question: Question) -> int:
        """First offset of ``status`` that a question is about."""
        if question.since is None:
            return question.position or 0
        since = self._at(number, int((question.since - _CLOCKS_DIFFER).timestamp() * 1000))
        if question.position is None or since == OFFSET_BEGINNING:
            return since
        return question.position if since == OFFSET_END else min(since, question.position)

    def _at(self, number: int, timestamp_ms: int) -> int:
        """First offset of ``status`` that was written at this time or later."""
        asked = TopicPartition(self._topics.status, number, timestamp_ms)
        found = self._consumer.offsets_for_times([asked], timeout=_TIMEOUT)[0].offset
        return found if found >= 0 or found == OFFSET_END else OFFSET_BEGINNING

    def _read(self, number: int, start: int, ids: Set[str] | None = None) -> Takeover:
        topic = self._topics.status
        low, high = self._consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=_TIMEOUT)
        moved_on: dict[str, Status] = {}
        if start == OFFSET_END or high <= max(start, low):
            return Takeover(moved_on, 0, 0, max(start, low), high)
        first = max(start, low)
        for record in records_until(self._consumer, topic, number, first, high):
            self.steps += 1
            if ids is None or (record.key() or b"").decode() in ids:
                self._note(record.value(), moved_on)
        return Takeover(moved_on, 0, 0, first, high)

    @staticmethod
    def _note(value: bytes | None, moved_on: dict[str, Status]) -> None:
        if value is None:
            return
        try:
            status = codec.decode(value, Status)
        except UndecodableRecordError as error:
            log.warning("unreadable status skipped", said=str(error))
            return
        if RANK[status.state] >= RANK[State.RUNNING] and supersedes(status, moved_on.get(status.id)):
            moved_on[status.id] = status


def _may_decide(value: bytes | None) -> bool:
    """Whether a status may tell that a run is over, or under way; one that is not understood may."""
    if value is None:
        return False
    try:
        return RANK[_STATED.decode(value).state] >= RANK[State.RUNNING]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return True
