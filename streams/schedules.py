"""Schedules: whoever owns a partition of the topic ``schedules`` makes its schedules' tasks when their times come."""

import threading
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from laneway import crashpoints
from laneway.kafka.clients import failure
from laneway.kafka.membership import Membership, again_and_again
from laneway.kafka.records import OutgoingRecord
from laneway.schedules import ScheduleBook, ScheduleEntry
from schemas.errors import UndecodableRecordError
from schemas.settings import Settings
from schemas.topics import Topics, position
from streams.firing import Firing, FiringRecords, due

log = structlog.get_logger(__name__)

_BATCH: Final = 500
_IDLE: Final = 0.5
_ENOUGH: Final = 500
"""Tasks that are made in one go, before those of other schedules; what was due first goes first."""
_LOOK_FOR_LANE_AGAIN: Final = timedelta(seconds=30)
_ASK_WITHIN: Final = 10.0


class Schedules:
    """Makes the tasks of schedules, in a thread of its own.

    Delivery: a task has an id made from its schedule's name and its time, and is on every in-sync replica before its
        schedule's progress is. Whoever takes a partition over reads it to its end first, and makes what the progress
        does not tell of: a task may be appended twice, says so, and runs once. Nothing is made before its time, nor
        while the group may have given this process up.
    Ordering: the times of one schedule are handled in their order.
    """

    def __init__(self, settings: Settings, worker: str) -> None:
        topics = Topics(settings.kafka.topic_prefix)
        self._topic = topics.schedules
        self._partitions = settings.kafka.partitions
        self._flush_within = settings.kafka.delivery_timeout + 1
        self._records = FiringRecords(topics, self._partitions, worker)
        self._stopping = threading.Event()
        self.membership = Membership(settings, topics.schedules_group, "laneway-schedules", self._stopping)
        self._thread = threading.Thread(target=self._run, name="schedules", daemon=True)
        self._books: dict[int, ScheduleBook] = {}
        self._opened: set[int] = set()
        self._next: dict[tuple[int, str], datetime] = {}
        self._lanes: set[str] = set()

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End after what is at hand. Blocking: until the thread has ended."""
        self._stopping.set()
        self._thread.join()

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def _run(self) -> None:
        again_and_again(self._session, self._stopping, "schedules")

    def _session(self) -> None:
        consumer = self.membership.consumer(**{"enable.partition.eof": True})
        producer = self.membership.producer()
        consumer.subscribe([self._topic], on_assign=self._take, on_revoke=self._forget, on_lost=self._forget)
        try:
            while not self._stopping.is_set():
                self._turn(consumer, producer)
        finally:
            self._leave(self._books.keys())
            consumer.close()

    def _turn(self, consumer: Consumer, producer: Producer) -> None:
        pause = (min(self._next.values()) - datetime.now(UTC)).total_seconds() if self._next else _IDLE
        for message in consumer.consume(_BATCH, timeout=min(max(pause, 0.001), _IDLE)):
            error = failure(message)
            if error is None:
                self._read(message)
            elif error.code() == KafkaError._PARTITION_EOF:
                self._open(message.partition() or 0)
        now = datetime.now(UTC)
        places = sorted((place for place, at in self._next.items() if at <= now), key=self._next.__getitem__)
        repairs = [repair for number in self._opened for repair in self._books[number].repairs()]
        if (places or repairs) and self.membership.holds(consumer, TopicPartition(self._topic, min(self._opened), 0)):
            self._append(producer, [self._records.part(key, value, now) for key, value in repairs])
            self._fire(producer, places, now)

    # What is known ------------------------------------------------------------------------------------------------

    def _take(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self.membership.joined(consumer)
        for partition in partitions:
            partition.offset = OFFSET_BEGINNING
            self._books[partition.partition] = ScheduleBook(self._partitions)
        consumer.incremental_assign(partitions)

    def _forget(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        self._leave({partition.partition for partition in partitions})

    def _leave(self, numbers: Iterable[int]) -> None:
        gone = set(numbers)
        self._opened -= gone
        self._books = {number: book for number, book in self._books.items() if number not in gone}
        self._next = {place: at for place, at in self._next.items() if place[0] not in gone}

    def _read(self, message: Message) -> None:
        number = message.partition() or 0
        book = self._books.get(number)
        if book is None:
            return
        try:
            entry = book.apply(number, message.key(), message.value())
        except UndecodableRecordError as error:
            log.error(
                "unreadable record of a schedule skipped",
                position=position(self._topic, number, message.offset() or 0),
                said=str(error),
            )
            return
        if number in self._opened:
            self._reckon(number, entry)

    def _open(self, number: int) -> None:
        """All that former owners told is known now: its schedules may fire."""
        book = self._books.get(number)
        if book is None or number in self._opened:
            return
        self._opened.add(number)
        for entry in book.entries.values():
            self._reckon(number, entry)
        if book.entries:
            log.info("schedules taken over", partition=number, schedules=len(book.entries))

    def _reckon(self, number: int, entry: ScheduleEntry) -> None:
        at = entry.next_at
        if at is None:
            self._next.pop((number, entry.name), None)
        else:
            self._next[number, entry.name] = at

    # Firing -------------------------------------------------------------------------------------------------------

    def _fire(self, producer: Producer, places: list[tuple[int, str]], now: datetime) -> None:
        """Make what is due of these schedules, then tell how far they are."""
        firings = list(self._firings(producer, places, now))
        tasks: list[OutgoingRecord] = []
        for _, entry, firing in firings:
            if entry.schedule is not None:
                tasks += [record for at in firing.times for record in self._records.task(entry.schedule, at, now)]
        self._append(producer, tasks)
        if tasks and crashpoints.armed:
            crashpoints.reached("after_firing")
        self._append(
            producer, [self._records.progress(entry.name, firing.progress, now) for _, entry, firing in firings]
        )
        for number, entry, firing in firings:
            entry.progress = firing.progress
            self._reckon(number, entry)
            if firing.times:
                log.info(
                    "schedule fired",
                    schedule=entry.name,
                    at=firing.times[-1].isoformat(),
                    tasks=len(firing.times),
                    late=round((now - firing.times[0]).total_seconds(), 3),
                )
            if over := firing.passed_over:
                log.info(
                    "schedule passed over",
                    schedule=entry.name,
                    since=over.since.isoformat(),
                    until=over.until.isoformat(),
                    why=over.why,
                )

    def _firings(
        self, producer: Producer, places: list[tuple[int, str]], now: datetime
    ) -> Iterator[tuple[int, ScheduleEntry, Firing]]:
        made = 0
        for number, name in places:
            if made >= _ENOUGH:
                return
            entry = self._books[number].entries[name]
            if entry.schedule is None or (firing := due(entry, now)) is None:
                self._reckon(number, entry)
            elif not firing.times or self._has_lane(producer, self._records.lane(entry.schedule)):
                made += len(firing.times)
                yield number, entry, firing
            else:
                # Others must not wait for it. Once the topic is there, it goes on from where it stands.
                log.error("schedule does not fire: its type has no topic", schedule=name, type=entry.schedule.task.type)
                self._next[number, name] = now + _LOOK_FOR_LANE_AGAIN

    def _has_lane(self, producer: Producer, topic: str) -> bool:
        if topic not in self._lanes and producer.list_topics(topic, timeout=_ASK_WITHIN).topics[topic].error is None:
            self._lanes.add(topic)
        return topic in self._lanes

    def _append(self, producer: Producer, records: list[OutgoingRecord]) -> None:
        """Have records on every in-sync replica.

        Raises:
            KafkaException: one of them may not be.
        """
        if not records:
            return
        failed: list[KafkaError] = []
        for topic, number, key, value, headers in records:
            producer.produce(
                topic,
                value,
                key,
                number,
                on_delivery=lambda error, _: failed.append(error) if error else None,
                headers=headers,  # type: ignore[arg-type]  # list is invariant; ours is narrower
            )
            producer.poll(0)
        if producer.flush(self._flush_within):
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "records were not acknowledged in time"))
        if failed:
            raise KafkaException(failed[0])
