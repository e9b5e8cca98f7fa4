"""Where a group lays outcomes that its handler could not take, what lies there, and asking for them again."""

import asyncio
import os
import re
import socket
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import islice
from typing import Final, NamedTuple

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition
from msgspec import DecodeError
from msgspec.json import decode as decode_json

from consumers.reader import Offsets, Start, TopicReader, partitions_of
from laneway.kafka.admin import TopicAdmin
from laneway.kafka.clients import message_headers, reader_config
from laneway.kafka.producer import RecordProducer
from laneway.kafka.reading import records_until
from laneway.kafka.records import OutgoingRecord
from schemas import headers as names
from schemas.codec import decode, encode
from schemas.errors import BrokerUnavailableError, ConfigurationError, UndecodableRecordError
from schemas.headers import header, timestamp
from schemas.outcome import Outcome
from schemas.settings import Settings
from schemas.status import ErrorInfo
from schemas.topics import Topics, position

_LEGAL: Final = re.compile(r"[A-Za-z0-9._-]+")
_LONGEST: Final = 249
"""Characters of a topic's name."""
_TIMEOUT: Final = 10.0
_AT_ONCE: Final = 500
_NEVER: Final = datetime.min.replace(tzinfo=UTC)
_OURS: Final = frozenset(
    {
        *(names.DLQ_REASON, names.DLQ_ERROR, names.DLQ_SOURCE, names.DLQ_AT, names.DLQ_WORKER),
        *(names.ERRORS, names.TRIES, names.AGAIN),
    }
)

Identity = tuple[str, int] | int
"""Task id and generation of an outcome; the offset of what is none."""


class Failure(NamedTuple):
    """Why a record is set aside."""

    reason: str
    """In a word: ``exhausted``, ``rejected``, ``not_retriable`` or ``undecodable``."""
    error: ErrorInfo
    """The last one."""
    errors: tuple[ErrorInfo, ...]
    """The latest, oldest first."""
    tries: int
    source: str
    """Where the record lay."""


class SetAside(NamedTuple):
    """An outcome that was set aside and has not been asked for again since."""

    position: str
    id: str | None
    """Of its task; ``None`` where the record is no outcome: it cannot be handled again."""
    generation: int | None
    reason: str
    error: ErrorInfo | None
    tries: int
    source: str | None
    at: datetime | None


class Aside:
    """The place of one group for the outcomes of one type: a topic, made when it is first needed.

    Args:
        settings: which cluster and prefix.
        type_name: whose outcomes.
        group: whose place.

    Raises:
        ConfigurationError: the name of a topic cannot have the group's name in it.
    """

    def __init__(self, settings: Settings, type_name: str, group: str) -> None:
        self.settings = settings
        self._topics = Topics(settings.kafka.topic_prefix)
        self._type = type_name
        self._group = group
        self.topic = self._topics.aside(type_name, group)
        if not _LEGAL.fullmatch(group) or len(self.topic) > _LONGEST:
            raise ConfigurationError(
                "group",
                repr(group),
                f"letters, digits, '.', '_' and '-', so that {self.topic} can be a topic of at most {_LONGEST}"
                " characters: what its handler cannot take is kept there",
            )
        self._partitions = 0
        self._by = f"{socket.gethostname()}-{os.getpid()}".encode()

    def make(self) -> None:
        """Have the topic there. Blocking: until the broker has answered.

        Raises:
            BrokerUnavailableError: none answers.
            ConfigurationError: nothing has results of this type.
        """
        admin = TopicAdmin(self.settings)
        present = admin.partitions()
        results = self._topics.results(self._type)
        if results not in present:
            raise ConfigurationError(results, "no such topic", "a topic that is there; see `laneway topics plan`")
        if self.topic not in present:
            admin.apply(
                [
                    self._topics.aside_spec(
                        self._type,
                        self._group,
                        partitions=present[results],
                        replication_factor=self.settings.kafka.replication_factor,
                    )
                ]
            )
        self._partitions = present.get(self.topic, present[results])

    def results(self, start: Start | Offsets, follow: bool, wake: Callable[[], None]) -> TopicReader:
        """Reads the type's outcomes as a member of the group."""
        return TopicReader(
            self._topics.results(self._type),
            group=self._group,
            start=start,
            follow=follow,
            settings=self.settings,
            wake=wake,
        )

    def asked(self, follow: bool, wake: Callable[[], None]) -> TopicReader:
        """Reads what is laid here, for what is asked for again; the group of that is named as the topic."""
        return TopicReader(
            self.topic, group=self.topic, start="earliest", follow=follow, settings=self.settings, wake=wake
        )

    def record(self, message: Message, failure: Failure) -> OutgoingRecord:
        """What lays a record here: its bytes untouched, in headers why, when and where from.

        A record that was asked for again keeps saying where its outcome lay first. All records of an outcome lie in one
        partition, in their order.
        """
        original = message_headers(message)
        source = header(original, names.DLQ_SOURCE) if header(original, names.AGAIN) is not None else None
        headers = [pair for pair in original if pair[0] not in _OURS]
        headers += [
            (names.DLQ_REASON, failure.reason.encode()),
            (names.DLQ_ERROR, encode(failure.error)),
            (names.DLQ_SOURCE, source or failure.source.encode()),
            (names.DLQ_AT, timestamp(datetime.now(UTC))),
            (names.DLQ_WORKER, self._by),
            (names.ERRORS, encode(failure.errors)),
            (names.TRIES, str(failure.tries).encode()),
        ]
        partition = (message.partition() or 0) % self._partitions
        return OutgoingRecord(self.topic, partition, _bytes(message.key()), _bytes(message.value()), headers)

    def look(self) -> list[SetAside]:
        """What lies here and was not asked for again since, in the order in which it came.

        Blocking: until all of it is read; memory is some hundred bytes for each.

        Raises:
            BrokerUnavailableError: no broker answers.
            ConfigurationError: the group has set nothing of this type aside, ever.
        """
        found: list[SetAside] = []
        with self._consumer() as consumer:
            for number in partitions_of(consumer, self.topic, self.settings):
                here: dict[Identity, SetAside] = {}
                for message in self._records(consumer, number):
                    # The latest record of an outcome tells how it stands.
                    here.pop(identity := _identity(message), None)
                    if header(message_headers(message), names.AGAIN) is None:
                        here[identity] = self._told(message, identity)
                found += here.values()
        return sorted(found, key=lambda each: (each.at or _NEVER, each.position))

    async def again(self, ids: Collection[str] | None = None) -> int:
        """Have the group's handler get outcomes that lie here once more.

        Delivery: each that is counted is asked for, durably; members of the group take it up as they do new outcomes.
            Called again after an error, it asks for the rest.

        Args:
            ids: of tasks; ``None`` takes everything that lies here.

        Returns:
            How many were asked for.

        Raises:
            BrokerUnavailableError: no broker answers.
            ConfigurationError: the group has set nothing of this type aside, ever.
        """
        wanted = {each.position for each in await asyncio.to_thread(self.look) if ids is None or each.id in ids}
        producer = RecordProducer(self.settings, "laneway-aside")
        asked = 0
        try:
            with self._consumer() as consumer:
                for number in await asyncio.to_thread(partitions_of, consumer, self.topic, self.settings):
                    lying = self._records(consumer, number)
                    while chunk := await asyncio.to_thread(_chunk, lying):
                        records = [
                            OutgoingRecord(
                                self.topic,
                                number,
                                _bytes(each.key()),
                                _bytes(each.value()),
                                [*message_headers(each), (names.AGAIN, timestamp(datetime.now(UTC)))],
                            )
                            for each in chunk
                            if position(self.topic, number, each.offset() or 0) in wanted
                            and not isinstance(_identity(each), int)
                        ]
                        await producer.send(records)
                        asked += len(records)
        finally:
            await producer.close()
        return asked

    def _records(self, consumer: Consumer, number: int) -> Iterator[Message]:
        first, end = consumer.get_watermark_offsets(TopicPartition(self.topic, number), timeout=_TIMEOUT)
        return records_until(consumer, self.topic, number, first, end)

    def _told(self, message: Message, identity: Identity) -> SetAside:
        headers = message_headers(message)

        def text(name: str) -> str | None:
            value = header(headers, name)
            return None if value is None else value.decode("utf-8", "replace")

        try:
            error = decode_json(header(headers, names.DLQ_ERROR) or b"", type=ErrorInfo)
        except DecodeError:
            error = None
        at = text(names.DLQ_AT)
        return SetAside(
            position(self.topic, message.partition() or 0, message.offset() or 0),
            None if isinstance(identity, int) else identity[0],
            None if isinstance(identity, int) else identity[1],
            text(names.DLQ_REASON) or "",
            error,
            int(text(names.TRIES) or 0),
            text(names.DLQ_SOURCE),
            None if at is None else datetime.fromisoformat(at),
        )

    @contextmanager
    def _consumer(self) -> Iterator[Consumer]:
        consumer = Consumer(reader_config(self.settings, "laneway-aside", "aside"))
        try:
            yield consumer
        except KafkaException as error:
            raise BrokerUnavailableError(f"{self.topic} cannot be read: {error.args[0].str()}") from error
        except TimeoutError as error:
            raise BrokerUnavailableError(f"{self.topic} cannot be read: {error}") from error
        finally:
            consumer.close()


def _identity(message: Message) -> Identity:
    try:
        outcome = decode(message.value(), Outcome)
    except UndecodableRecordError:
        return message.offset() or 0
    return outcome.id, outcome.generation


def _chunk(messages: Iterator[Message]) -> list[Message]:
    return list(islice(messages, _AT_ONCE))


def _bytes(value: bytes | str | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value
