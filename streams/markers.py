"""Done-markers: what a former owner of a partition had made durable before it could commit.

``status`` has the same partition number for a task as its lane, so whoever takes over a partition of a lane reads that
part of ``status``, from where the last commit says, and knows which redelivered records are over.
"""

import time
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
_MOST_IN_WINDOWS: Final = 300_000
"""Keys that are remembered of all partitions together, some 80 bytes each."""
_ANSWERS_WITHIN: Final = 0.5
"""Seconds in which a broker answers that does not stand still."""


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


class Question(NamedTuple):
    """What is asked of a partition of ``status``."""

    position: int
    """Where to read on about what is claimed."""
    claimed: Set[str]
    """Tasks that were told to run."""
    since: datetime | None = None
    """Also what was told from this time on of what is doubtful; a little earlier, since clocks differ."""
    doubtful: Set[str] = frozenset()
    """Tasks whose record may be a repeated one."""


class News(NamedTuple):
    """What a partition of ``status`` says of the tasks in question."""

    moved_on: dict[str, Status]
    """As in ``Takeover``."""
    read_until: int
    """Where to read on about all that is claimed now."""


class _Stated(Struct):
    """What a look at many statuses takes from each."""

    state: State


_STATED: Final = msgspec.json.Decoder(_Stated)


@dataclass
class _Window:
    """A stretch of a partition of ``status`` that was read, so that the next question begins where it ends."""

    first: int
    until: int
    moved_on: set[int] = field(default_factory=set)
    """Hashes of the keys of which something was told there that can decide about a record."""


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
            Only partitions of which nothing more is told by who had them: handed over, with no open records, or heard
            out, as long as the broker that has them answers at once.

        Raises:
            BrokerUnavailableError: the broker cannot tell now.
        """
        try:
            return self._take_over(lane, commits, heard_out)
        except (KafkaException, TimeoutError) as error:
            self._renew()
            raise BrokerUnavailableError(f"no done-markers for {lane}: {error}") from error

    def follow(self, lane: Lane, questions: Mapping[int, Question]) -> dict[int, News]:
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
                end = self._ends(number)[1]
                taken[number] = Takeover({}, max(low, committed), high, end, end)
                continue
            note = read_commit_metadata(commit.metadata if commit is not None else None)
            # Who counts the time from now on may rely on this: the broker that has the partition answers.
            if not note.handed_over and not (self._answers(number) and number in heard_out):
                continue
            start = note.marker
            if start is None:
                start = self._start(topic, number, max(low, committed))
            found = self._read(number, start)
            taken[number] = Takeover(found.moved_on, max(low, committed), high, max(start, 0), found.read_until)
            log.info(
                "took over a partition with open records",
                position=f"{topic}-{number}@{committed}",
                records=high - committed,
                markers_from=start,
                told_already=len(found.moved_on),
            )
        return taken

    def _answers(self, number: int) -> bool:
        """Whether the broker that has the partition of ``status`` answers at once."""
        asked_at = time.monotonic()
        self._ends(number)
        return time.monotonic() - asked_at < _ANSWERS_WITHIN

    def _ends(self, number: int) -> tuple[int, int]:
        low, high = self._consumer.get_watermark_offsets(TopicPartition(self._topics.status, number), timeout=_TIMEOUT)
        return low, high

    def _start(self, topic: str, number: int, committed: int) -> int:
        """First offset of ``status`` that can tell of a record at or beyond ``committed``, without a commit of ours.

        Nothing can have been told of a record before the broker had it.
        """
        self._consumer.assign([TopicPartition(topic, number, committed)])
        record = self._consumer.poll(_TIMEOUT)
        if record is None or record.error():
            return OFFSET_BEGINNING
        end = self._ends(number)[1]
        found = self._at(number, record.timestamp()[1] - int(_CLOCKS_DIFFER.total_seconds() * 1000))
        return end if found == OFFSET_END else found

    def _news(self, number: int, question: Question) -> News:
        claims = self._read(number, question.position, question.claimed) if question.claimed else None
        if question.since is None:
            return claims or News({}, question.position)
        doubts = self._look(number, question.since, question.doubtful)
        if claims is None:
            return doubts
        for status in doubts.moved_on.values():
            _learn(status, claims.moved_on)
        return claims

    def _look(self, number: int, since: datetime, ids: Set[str]) -> News:
        """What was told of tasks since then.

        A record that may be repeated mostly is not: what tells so is read once, however many are asked about.
        """
        low, high = self._ends(number)
        first = self._at(number, int((since - _CLOCKS_DIFFER).timestamp() * 1000))
        if first == OFFSET_END or first >= high:
            return News({}, high)
        window = self._window(number, max(first, low), high)
        if window is not None:
            ids = {task_id for task_id in ids if hash(task_id.encode()) in window.moved_on}
        return News(self._read(number, first, ids).moved_on if ids else {}, high)

    def _window(self, number: int, first: int, high: int) -> _Window | None:
        """What was told in this stretch; ``None`` when that is too much to remember."""
        window = self._windows.pop(number, None)
        if window is None or not window.first <= first <= window.until <= high:
            window = _Window(first, first)
        room = _MOST_IN_WINDOWS - sum(len(each.moved_on) for each in self._windows.values())
        for record in records_until(self._consumer, self._topics.status, number, window.until, high):
            self.steps += 1
            if _may_decide(record.value()):
                window.moved_on.add(hash(record.key() or b""))
                if len(window.moved_on) > room:
                    self.forget()
                    return None
        window.until = high
        self._windows[number] = window
        return window

    def _at(self, number: int, timestamp_ms: int) -> int:
        """First offset of ``status`` that was written at this time or later."""
        asked = TopicPartition(self._topics.status, number, timestamp_ms)
        found = self._consumer.offsets_for_times([asked], timeout=_TIMEOUT)[0].offset
        return found if found >= 0 or found == OFFSET_END else OFFSET_BEGINNING

    def _read(self, number: int, start: int, ids: Set[str] | None = None) -> News:
        """What was told from there on, of these tasks or of all."""
        low, high = self._ends(number)
        moved_on: dict[str, Status] = {}
        for record in records_until(self._consumer, self._topics.status, number, max(start, low), high):
            self.steps += 1
            if ids is None or (record.key() or b"").decode(errors="replace") in ids:
                _note(record.value(), moved_on)
        return News(moved_on, high)


def _note(value: bytes | None, moved_on: dict[str, Status]) -> None:
    if value is None:
        return
    try:
        status = codec.decode(value, Status)
    except UndecodableRecordError as error:
        log.warning("unreadable status skipped", said=str(error))
        return
    if RANK[status.state] >= RANK[State.RUNNING]:
        _learn(status, moved_on)


def _learn(status: Status, moved_on: dict[str, Status]) -> None:
    if supersedes(status, moved_on.get(status.id)):
        moved_on[status.id] = status


def _may_decide(value: bytes | None) -> bool:
    """Whether a status may tell that a run is over, or under way; one that is not understood may."""
    if value is None:
        return False
    try:
        return RANK[_STATED.decode(value).state] >= RANK[State.RUNNING]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return True
