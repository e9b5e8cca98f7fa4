"""Holding the outcomes of shadow runs against those of the runs that they repeat."""

import hashlib
from collections.abc import Generator, Iterator
from contextlib import closing
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

import msgspec
from confluent_kafka import Consumer, KafkaException, Message, TopicPartition
from msgspec import Raw, Struct

from ingest.replay.patching import diff
from laneway.kafka.clients import reader_config
from laneway.kafka.reading import records_until
from schemas.errors import BrokerUnavailableError
from schemas.replay_diff import DiffCounts, End, EndError, ShadowDifference
from schemas.settings import Settings
from schemas.status import NULL, State
from schemas.task import AwareDatetime
from schemas.topics import Topics, position

_TIMEOUT: Final = 10.0
_CLOCKS_DIFFER: Final = timedelta(seconds=10)
_KEPT_BYTES: Final = 64 * 1024 * 1024
"""Outcomes of shadows that are kept until their counterparts come; those beyond are read again where they differ."""
_LONGEST_SHOWN: Final = 4_000
_DIGEST: Final = 16
_AT_ONCE: Final = 100


class Ended(Struct, frozen=True, kw_only=True):
    """The part of an outcome that is compared, and what names it."""

    id: str
    type: str
    state: State
    result: Raw = NULL
    error: EndError | None = None
    generation: int = 1
    replay_id: str | None = None
    created_at: AwareDatetime

    @property
    def digest(self) -> bytes:
        """The same for all that are equal as JSON values."""
        result = msgspec.json.encode(msgspec.json.decode(self.result), order="sorted")
        told = msgspec.json.encode((self.state, Raw(result), self.error))
        return hashlib.blake2b(told, digest_size=_DIGEST).digest()


_ENDED: Final = msgspec.json.Decoder(Ended)


class _Shadow(NamedTuple):
    digest: bytes
    generation: int
    type: str
    offset: int
    value: bytes | None
    """``None``: to be read once more where it is needed."""


class Comparison:
    """Compares what one replay's shadows ended with. Belongs to one thread at a time.

    Memory: of each task of one partition number a digest and where its shadow's outcome lies.
    """

    def __init__(self, settings: Settings, replay_id: str, since: datetime, replayed: int) -> None:
        self._settings = settings
        self._topics = Topics(settings.kafka.topic_prefix)
        self._replay_id = replay_id
        self._since = since - _CLOCKS_DIFFER
        self._replayed = replayed
        self._ran = 0
        self._same = 0
        self._different = 0
        self._gone = 0

    @property
    def counts(self) -> DiffCounts:
        """Of what has been compared by now."""
        return DiffCounts(
            same=self._same,
            different=self._different,
            missing_shadow=max(0, self._replayed - self._ran),
            missing_before=self._gone,
        )

    def differences(self) -> Generator[list[ShadowDifference]]:
        """The tasks that differ, some at a time; an empty list now and then where there is nothing to tell.

        Blocking: for as long as the reading takes.

        Raises:
            BrokerUnavailableError: the log cannot be read now.
        """
        config = {**reader_config(self._settings, "laneway-replay-diff", "scan"), "fetch.wait.max.ms": 5}
        consumer, second = Consumer(config), Consumer(config)
        try:
            for number in range(self._settings.kafka.partitions):
                chunk: list[ShadowDifference] = []
                for difference in self._compared(consumer, second, number):
                    chunk.append(difference)
                    if len(chunk) >= _AT_ONCE:
                        yield chunk
                        chunk = []
                yield chunk
        except (KafkaException, TimeoutError) as error:
            raise BrokerUnavailableError(f"what shadows ended with cannot be read: {error}") from error
        finally:
            consumer.close()
            second.close()

    def _compared(self, consumer: Consumer, second: Consumer, number: int) -> Iterator[ShadowDifference]:
        shadows, oldest = self._shadows(consumer, number)
        self._ran += len(shadows)
        for type_name in sorted({shadow.type for shadow in shadows.values()}):
            topic = self._topics.results(type_name)
            left = sum(shadow.type == type_name for shadow in shadows.values())
            # Nothing can have been told of a task before it was accepted.
            with closing(_records(consumer, topic, number, oldest - _CLOCKS_DIFFER)) as records:
                for record in records:
                    task_id = (record.key() or b"").decode(errors="replace")
                    shadow = shadows.get(task_id)
                    ended = None if shadow is None else _ended(record)
                    if shadow is None or ended is None or ended.generation != shadow.generation:
                        continue
                    # What a crash repeated says the same.
                    del shadows[task_id]
                    left -= 1
                    if ended.digest == shadow.digest:
                        self._same += 1
                    else:
                        self._different += 1
                        yield self._difference(second, number, ended, shadow, _position(record))
                    if not left:
                        break
        self._gone += len(shadows)

    def _shadows(self, consumer: Consumer, number: int) -> tuple[dict[str, _Shadow], datetime]:
        """What the shadows of one partition number ended with, and when the oldest of their tasks was accepted."""
        found: dict[str, _Shadow] = {}
        oldest, kept = self._since, 0
        with closing(_records(consumer, self._topics.shadows, number, self._since)) as records:
            for record in records:
                ended = _ended(record)
                # Of a run that a crash repeated the first outcome counts.
                if ended is None or ended.replay_id != self._replay_id or ended.id in found:
                    continue
                value = record.value() or b""
                kept += len(value)
                oldest = min(oldest, ended.created_at)
                found[ended.id] = _Shadow(
                    ended.digest,
                    ended.generation,
                    ended.type,
                    record.offset() or 0,
                    value if kept <= _KEPT_BYTES else None,
                )
        return found, oldest

    def _difference(self, consumer: Consumer, number: int, before: Ended, shadow: _Shadow, at: str) -> ShadowDifference:
        topic = self._topics.shadows
        value = shadow.value
        if value is None:
            with closing(records_until(consumer, topic, number, shadow.offset, shadow.offset + 1)) as records:
                value = next(records).value() or b""
        return difference(before, _ENDED.decode(value), at, position(topic, number, shadow.offset))


def difference(before: Ended, shadow: Ended, before_at: str, shadow_at: str) -> ShadowDifference:
    """What differs between two ends of one task, which do."""
    former, present = _told(before), _told(shadow)
    return ShadowDifference(
        id=before.id,
        type=before.type,
        generation=before.generation,
        differs=[name for name in ("state", "result", "error") if diff(former[name], present[name])],
        before=_end(before, former["result"], before_at),
        shadow=_end(shadow, present["result"], shadow_at),
        diff=diff(former, present),
    )


def _told(ended: Ended) -> dict[str, Any]:
    error = None if ended.error is None else {"type": ended.error.type, "message": ended.error.message}
    return {"state": ended.state.value, "result": msgspec.json.decode(ended.result), "error": error}


def _end(ended: Ended, result: Any, at: str) -> End:
    shown = len(bytes(ended.result)) <= _LONGEST_SHOWN
    return End(state=ended.state, result=result if shown else None, error=ended.error, position=at)


def _ended(record: Message) -> Ended | None:
    try:
        return _ENDED.decode(record.value() or b"")
    except msgspec.DecodeError:
        return None


def _position(record: Message) -> str:
    return position(record.topic() or "", record.partition() or 0, record.offset() or 0)


def _records(consumer: Consumer, topic: str, number: int, since: datetime) -> Generator[Message]:
    """The records of a partition that were appended since, to the end that it has now."""
    low, high = consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=_TIMEOUT)
    asked = TopicPartition(topic, number, int(since.timestamp() * 1000))
    first = consumer.offsets_for_times([asked], timeout=_TIMEOUT)[0].offset
    if 0 <= first < high:
        yield from records_until(consumer, topic, number, max(first, low), high)
