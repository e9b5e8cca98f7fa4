"""The ladder of waiting topics: a record whose time on its rung is over goes down a rung, in the end to its lane."""

import heapq
import threading
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

import msgspec
import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from laneway.kafka.clients import failure, message_headers
from laneway.kafka.membership import Membership, again_and_again
from schemas import codec
from schemas.errors import UndecodableRecordError
from schemas.headers import delivery_headers, read_delivery
from schemas.settings import Settings
from schemas.task import Task
from schemas.topics import RUNGS, Topics, rung_for

log = structlog.get_logger(__name__)

_WINDOW: Final = 500
"""Records of one partition that wait here from which on the rest of it stays on the broker."""
_IDLE: Final = 0.5
_FETCH_WAIT: Final = 100
"""Longest that a fetch without records takes, in ms: a partition that is wanted again waits for the next one."""
_CLOCKS_DIFFER: Final = timedelta(seconds=2)

TopicAndPartition = tuple[str, int]


class Forward(NamedTuple):
    """Where a waiting record goes next."""

    topic: str
    key: bytes
    headers: list[tuple[str, bytes]]
    late: timedelta | None
    """How long it was due, when it goes to its lane."""


class Timers:
    """Moves waiting tasks on when they are due, in a thread of its own.

    Delivery: a record's offset is committed after its next copy is on every in-sync replica. A crash in between
        repeats the copy: what may be one carries a header that says so, and workers look its run up before it starts.
        Nothing is moved while the group may have given this process up.
    Ordering: a rung's records are in due order, so waiting at its head holds back nothing that is due.

    Args:
        settings: of the worker.
        moved: gets, from the thread, the seconds by which a task comes late to its lane.
    """

    def __init__(self, settings: Settings, moved: Callable[[float], None] = lambda _: None) -> None:
        self._moved = moved
        self._settings = settings
        self._topics = Topics(settings.kafka.topic_prefix)
        self._rungs = {self._topics.retry(name): wait for name, wait in RUNGS.items()}
        self._stopping = threading.Event()
        self.membership = Membership(settings, self._topics.timers_group, "laneway-timers", self._stopping)
        self._thread = threading.Thread(target=self._run, name="timers", daemon=True)
        self._waiting: dict[TopicAndPartition, deque[Message]] = {}
        self._paused: set[TopicAndPartition] = set()
        """Of which enough is here; the rest stays on the broker."""
        self._due: list[tuple[datetime, TopicAndPartition]] = []
        self._taken_at: dict[TopicAndPartition, datetime] = {}
        self._joined = threading.Event()
        self._owed: datetime | None = None
        """When what is being moved should have been, until it is, or is given back: an outage takes the rest of what
        is known here."""

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End after the batch at hand. Blocking: until the thread has ended."""
        self._stopping.set()
        self._thread.join()

    @property
    def joined(self) -> bool:
        """Whether the group has given it its share of the ladder once, be that none."""
        return self._joined.is_set()

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def overdue(self, now: datetime) -> float:
        """Seconds for which something should have been moved, 0 when nothing should; from any thread."""
        owed = self._owed
        since = [leaves for leaves, _ in self._due[:1]] + ([] if owed is None else [owed])
        return max([0.0, *((now - each).total_seconds() for each in since)])

    def forward(
        self, value: bytes | None, headers: list[tuple[str, bytes]] | None, now: datetime, *, repeated: bool = False
    ) -> Forward:
        """Decide where a record that has waited out its rung goes.

        Args:
            value: the task's bytes.
            headers: of the record.
            now: the time.
            repeated: whether somebody may have moved it before.

        Raises:
            UndecodableRecordError: it is no task.
        """
        task = codec.decode(value, Task)
        delivery = read_delivery(headers)
        due = delivery.not_before or now
        rung = rung_for(due - now)
        kept = [(name, data) for name, data in headers or () if not name.startswith("laneway-")]
        moved = msgspec.structs.replace(delivery, repeated=delivery.repeated or repeated)
        if rung is not None:
            return Forward(self._topics.retry(rung), task.id.encode(), kept + delivery_headers(moved), None)
        return Forward(
            self._topics.lane(task.lane), task.partition_key.encode(), kept + delivery_headers(moved), now - due
        )

    def _run(self) -> None:
        again_and_again(self._session, self._stopping, "timers")

    def _session(self) -> None:
        consumer = self.membership.consumer(**{"fetch.wait.max.ms": _FETCH_WAIT})
        producer = self.membership.producer()
        consumer.subscribe(list(self._rungs), on_assign=self._take, on_revoke=self._forget, on_lost=self._forget)
        try:
            while not self._stopping.is_set():
                self._turn(consumer, producer)
        finally:
            self._waiting.clear()
            self._paused.clear()
            self._due.clear()
            consumer.close()

    def _turn(self, consumer: Consumer, producer: Producer) -> None:
        now = datetime.now(UTC)
        pause = min(_IDLE, (self._due[0][0] - now).total_seconds()) if self._due else _IDLE
        # Together they would wait for a full batch, or for the whole of the pause.
        first = consumer.poll(max(pause, 0.001))
        if first is not None:
            self._hold(consumer, [first, *consumer.consume(_WINDOW, 0.0)])
        now = datetime.now(UTC)
        if not self._due or self._due[0][0] > now or not self._lease_holds(consumer):
            return
        self._owed = min(self._due[0][0], self._owed or now)
        moved: list[TopicPartition] = []
        failed: list[KafkaError] = []
        while self._due and self._due[0][0] <= now:
            _, place = heapq.heappop(self._due)
            messages = self._waiting.get(place, deque())
            while messages and self._leaves(messages[0]) <= now:
                message = messages.popleft()
                repeated = self._leaves(message) <= self._taken_at[place] + _CLOCKS_DIFFER
                self._send(producer, message, now, failed, repeated=repeated)
                moved.append(TopicPartition(*place, (message.offset() or 0) + 1))
            if messages:
                heapq.heappush(self._due, (self._leaves(messages[0]), place))
            else:
                self._waiting.pop(place, None)
            # Early enough for the next ones to be here before they are due.
            if place in self._paused and len(messages) <= _WINDOW // 2:
                self._paused.discard(place)
                consumer.resume([TopicPartition(*place)])
        self._confirm(consumer, producer, moved, failed)
        self._owed = None

    def _hold(self, consumer: Consumer, messages: list[Message]) -> None:
        """Keep what was fetched until it is due."""
        for message in messages:
            if failure(message) is not None:
                continue
            place = (message.topic() or "", message.partition() or 0)
            if place not in self._waiting:
                self._waiting[place] = deque()
                heapq.heappush(self._due, (self._leaves(message), place))
            self._waiting[place].append(message)
        touched = {(message.topic() or "", message.partition() or 0) for message in messages} & self._waiting.keys()
        full = {place for place in touched - self._paused if len(self._waiting[place]) >= _WINDOW}
        if full:
            self._paused |= full
            consumer.pause([TopicPartition(*place) for place in full])

    def _lease_holds(self, consumer: Consumer) -> bool:
        """Whether the group takes us for alive: asked by a commit of what is committed already."""
        place = self._due[0][1]
        return self.membership.holds(consumer, TopicPartition(*place, self._waiting[place][0].offset() or 0))

    def _send(
        self, producer: Producer, message: Message, now: datetime, failed: list[KafkaError], *, repeated: bool
    ) -> None:
        value, headers = message.value(), message_headers(message)
        try:
            topic, key, onward, late = self.forward(value, headers, now, repeated=repeated)
        except UndecodableRecordError as error:
            # Nobody but us writes here; without a task there is no lane, hence no dead-letter topic to put it into.
            log.error(
                "unreadable record on a waiting topic skipped",
                position=f"{message.topic()}-{message.partition()}@{message.offset()}",
                said=str(error),
            )
            return
        producer.produce(
            topic,
            value,
            key,
            message.partition() or 0,
            on_delivery=lambda error, _: failed.append(error) if error else None,
            headers=onward,  # type: ignore[arg-type]  # list is invariant; ours is narrower
        )
        producer.poll(0)
        if late is not None:
            self._moved(late.total_seconds())

    def _confirm(
        self, consumer: Consumer, producer: Producer, moved: list[TopicPartition], failed: list[KafkaError]
    ) -> None:
        """Commit what has moved, once its copies are durable; else start over from the last commit."""
        began = time.monotonic()
        producer.flush(self._settings.kafka.delivery_timeout + 1)
        if failed:
            raise KafkaException(failed[0])
        furthest: dict[TopicAndPartition, TopicPartition] = {}
        for position in moved:
            furthest[position.topic, position.partition] = position
        consumer.commit(offsets=list(furthest.values()), asynchronous=False)
        self.membership.heard(began)

    def _leaves(self, message: Message) -> datetime:
        """When a record's time on its rung is over, by the broker's clock."""
        appended = datetime.fromtimestamp(message.timestamp()[1] / 1000, UTC)
        return appended + self._rungs.get(message.topic() or "", timedelta(0))

    def _take(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self.membership.joined(consumer)
        self._owed = None  # from here on the heads of what is ours tell
        consumer.incremental_assign(partitions)
        consumer.resume(partitions)  # one that was lost while its head waited stays paused otherwise, for ever
        now = datetime.now(UTC)
        self._taken_at.update({(partition.topic, partition.partition): now for partition in partitions})
        self._joined.set()

    def _forget(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        gone = {(partition.topic, partition.partition) for partition in partitions}
        self._paused -= gone
        for place in gone:
            self._waiting.pop(place, None)
        self._due = [entry for entry in self._due if entry[1] not in gone]
        heapq.heapify(self._due)
