"""Reading parts of the log from a beginning to an end that are fixed."""

import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Final

import msgspec
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient

from ingest.replay.choosing import Past
from laneway.kafka.clients import client_config, failure, reader_config
from laneway.kafka.offsets import EARLIEST, LATEST, OffsetAsker
from schemas.errors import BrokerUnavailableError
from schemas.replay import Selection, Source, SourceRange
from schemas.settings import Settings
from schemas.task import OWN_WORD, Priority, Task
from schemas.topics import DEAD_LETTERS_SUFFIX, Topics, partition_of

_TIMEOUT: Final = 10.0
_SILENCE: Final = 30.0
_CLOCKS_DIFFER_MS: Final = 10_000
_OLDEST: Final = datetime(2001, 1, 1, tzinfo=UTC)
_TASK: Final = msgspec.json.Decoder(Task)


class PastReader:
    """Reads ranges of the log, all of them interleaved.

    Blocking: ``read`` does. All methods belong to one thread at a time.

    Args:
        settings: of the process.
        ranges: what to read.
        client_id: of the consumer.
        positions: by `topic-partition`, where to go on instead of at a range's beginning.
        burst_bytes: how much of one partition comes before something of another.
        others: gets each record that is no task.

    Raises:
        BrokerUnavailableError: (every method) the broker is in trouble.
    """

    def __init__(
        self,
        settings: Settings,
        ranges: Iterable[SourceRange],
        client_id: str,
        *,
        positions: Mapping[str, int] | None = None,
        burst_bytes: int = 1_048_576,
        others: Callable[[Message], None] | None = None,
    ) -> None:
        self._others = others
        self._ends: dict[tuple[str, int], int] = {}
        self._consumer = Consumer(
            {
                **reader_config(settings, client_id, "replay-reader"),
                "auto.offset.reset": "earliest",  # what retention has taken meanwhile is gone
                "enable.partition.eof": True,
                "max.partition.fetch.bytes": burst_bytes,
                "fetch.message.max.bytes": burst_bytes,
                "queued.min.messages": 20_000,
                "queued.max.messages.kbytes": 32_768,
                # By itself the client leaves a partition alone for a second once it has so much of it.
                "fetch.queue.backoff.ms": 5,
                "fetch.wait.max.ms": 100,
            }
        )
        self._heard_at = time.monotonic()
        self.undecodable = 0
        """Records so far that were no tasks."""
        self.records = 0
        """Read so far."""
        self.positions: dict[str, int] = {}
        """By `topic-partition`: the offset behind the last that ``read`` has given."""
        assigned: list[TopicPartition] = []
        for each in ranges:
            first = (positions or {}).get(each.place, each.first)
            if first < each.end:
                self._ends[each.topic, each.partition] = each.end
                assigned.append(TopicPartition(each.topic, each.partition, first))
        self._consumer.assign(assigned)

    @property
    def over(self) -> bool:
        """Whether everything has been read."""
        return not self._ends

    def close(self) -> None:
        """Let go of the broker."""
        self._consumer.close()

    def read(self, count: int, within: float) -> list[Past]:
        """At most ``count`` tasks that come within so many seconds, in the order of each partition."""
        try:
            messages = self._consumer.consume(count, within)
            found = [past for message in messages if (past := self._take(message)) is not None]
        except KafkaException as error:
            raise BrokerUnavailableError(f"the past cannot be read: {error.args[0].str()}") from error
        now = time.monotonic()
        if messages:
            self._heard_at = now
        elif self._ends and now - self._heard_at > _SILENCE:
            raise BrokerUnavailableError(f"the past cannot be read: nothing heard for {_SILENCE:g} s")
        return found

    def _take(self, message: Message) -> Past | None:
        topic, number, offset = message.topic() or "", message.partition() or 0, message.offset() or 0
        place = (topic, number)
        end = self._ends.get(place)
        if end is None:
            return None
        error = failure(message)
        if error is not None:
            if error.code() == KafkaError._PARTITION_EOF and offset >= end:
                self._leave(place, end)  # retention has taken the rest
            return None
        if offset >= end:
            self._leave(place, end)
            return None
        self.records += 1
        self.positions[f"{topic}-{number}"] = offset + 1
        if offset + 1 >= end:
            self._leave(place, end)
        value = message.value()
        try:
            if value is None:
                raise ValueError("a tombstone")
            value.decode()  # the decoder passes over payloads
            task = _TASK.decode(value)
        except (msgspec.DecodeError, ValueError, RecursionError):
            self.undecodable += 1
            if self._others is not None:
                self._others(message)
            return None
        return Past(task, value, topic, number, offset, message.timestamp()[1], message.headers)

    def _leave(self, place: tuple[str, int], end: int) -> None:
        del self._ends[place]
        self.positions[f"{place[0]}-{place[1]}"] = end
        self._consumer.pause([TopicPartition(*place)])


class PastRanges:
    """Finds the parts of the log that a selection is about.

    Blocking: ``find`` does.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._topics = Topics(settings.kafka.topic_prefix)

    def find(self, select: Selection, source: Source) -> list[SourceRange]:
        """What to read, as the log is now; without the parts that are empty.

        Raises:
            BrokerUnavailableError: the broker does not tell.
        """
        asker = OffsetAsker(self._settings, "laneway-replay-admin")
        try:
            return self._find(asker, select, source)
        except (BrokerUnavailableError, KafkaException) as error:
            raise BrokerUnavailableError(f"the broker does not tell where the past lies: {error}") from error
        finally:
            asker.close()

    def _find(self, asker: OffsetAsker, select: Selection, source: Source) -> list[SourceRange]:
        admin = AdminClient(client_config(self._settings, "laneway-replay-admin"))
        present = admin.list_topics(timeout=_TIMEOUT).topics
        wanted = [name for name in sorted(present) if self._holds(name, select, source)]
        places = [
            (name, number)
            for name in wanted
            for number in sorted(present[name].partitions)
            if select.key is None or number == partition_of(select.key, self._settings.kafka.partitions)
        ]
        if select.offsets is not None:
            places = [place for place in places if f"{place[0]}-{place[1]}" in select.offsets]
        ends = asker.ask(places, LATEST, within=_TIMEOUT)
        firsts = asker.ask(places, EARLIEST, within=_TIMEOUT)
        # Before then nothing was appended, and brokers take the numbers around zero for something else than times.
        if select.since is not None and select.since > _OLDEST:
            # A task is appended after it was accepted, by clocks that may differ a little.
            since = int(select.since.timestamp() * 1000) - _CLOCKS_DIFFER_MS
            later = asker.ask(places, since, within=_TIMEOUT)
            # Nothing was appended since: -1.
            firsts = {place: ends[place] if at < 0 else max(at, firsts[place]) for place, at in later.items()}
        ranges: list[SourceRange] = []
        for place in places:
            first, end = firsts[place], ends[place]
            if select.offsets is not None:
                asked = select.offsets[f"{place[0]}-{place[1]}"]
                first, end = max(first, asked[0]), min(end, asked[1])
            if first < end:
                ranges.append(SourceRange(topic=place[0], partition=place[1], first=first, end=end))
        return ranges

    def _holds(self, name: str, select: Selection, source: Source) -> bool:
        lead = self._topics.task_topics
        if not name.startswith(lead):
            return False
        if source is Source.DEAD_LETTERS:
            type_name = name.removeprefix(lead).removesuffix(DEAD_LETTERS_SUFFIX)
            return name.endswith(DEAD_LETTERS_SUFFIX) and (select.types is None or type_name in select.types)
        type_name, _, priority = name.removeprefix(lead).rpartition(".")
        if priority not in set(Priority) or type_name not in (select.types or [type_name]):
            return False
        if select.types is None and type_name.partition(".")[0] == OWN_WORD:
            return False  # what Laneway made by itself, such as callbacks, is not meant unless it is named
        return select.priorities is None or Priority(priority) in select.priorities
