"""The log as a foreign client sees it: outcomes as they come in, and how much lies in a lane."""

import threading
import time
from datetime import datetime
from typing import Any, Final

import msgspec
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from laneway.kafka.clients import client_config
from schemas.errors import BenchmarkError
from schemas.settings import Settings
from schemas.status import State
from schemas.topics import Topics

_ASK_SECONDS: Final = 15.0
_POLL_SECONDS: Final = 0.1
_BATCH: Final = 1000


class Ended(msgspec.Struct):
    """What of an outcome the benchmark needs."""

    id: str
    state: State
    priority: str
    started_at: datetime | None = None
    worker: str | None = None
    seen_at: float = 0.0
    """When it was read here, by the monotonic clock."""


_decode: Final = msgspec.json.Decoder(Ended).decode


class LogReader:
    """Reads topics of one system."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._topics = Topics(settings.kafka.topic_prefix)

    def outcomes(self, *types: str) -> "Outcomes":
        """The outcomes of these types that are published from now on."""
        topics = [self._topics.results(type_name) for type_name in types]
        return Outcomes(Consumer(self._config()), topics, self._settings.kafka.partitions)

    def published(self, type_name: str) -> int:
        """How many outcomes of a type there are."""
        consumer = Consumer(self._config())
        try:
            topic = self._topics.results(type_name)
            places = [TopicPartition(topic, number) for number in range(self._settings.kafka.partitions)]
            return sum(consumer.get_watermark_offsets(place, timeout=_ASK_SECONDS)[1] for place in places)
        finally:
            consumer.close()

    def _config(self) -> dict[str, Any]:
        return client_config(self._settings, "laneway-bench") | {
            "group.id": "laneway-bench",  # librdkafka wants one even where none is used
            "enable.auto.commit": False,
            "fetch.wait.max.ms": 100,
        }

    def delete_topics(self) -> None:
        """Delete every topic of the prefix."""
        admin = AdminClient(client_config(self._settings, "laneway-bench"))
        prefix = self._settings.kafka.topic_prefix
        names = [name for name in admin.list_topics(timeout=_ASK_SECONDS).topics if name.startswith(prefix)]
        for future in admin.delete_topics(names).values() if names else ():
            future.result(_ASK_SECONDS)


class Outcomes:
    """Gathers outcomes in a thread of its own; a context manager, which ends it.

    An outcome counts once, by its task's id. Reading begins at the ends that the partitions have when the block is
    entered.
    """

    def __init__(self, consumer: Consumer, topics: list[str], partitions: int) -> None:
        self._consumer = consumer
        self._places = [TopicPartition(topic, number) for topic in topics for number in range(partitions)]
        self._thread = threading.Thread(target=self._read, name="outcomes", daemon=True)
        self._news = threading.Condition()
        self._stopping = False
        self._error: KafkaError | None = None
        self.by_id: dict[str, Ended] = {}
        """What came in so far; read it while nothing is expected, or by key."""
        self.repeated = 0
        """Records that repeated an outcome."""

    def __enter__(self) -> "Outcomes":
        for place in self._places:
            _, place.offset = self._consumer.get_watermark_offsets(place, timeout=_ASK_SECONDS)
        self._consumer.assign(self._places)
        self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._stopping = True
        self._thread.join()
        self._consumer.close()

    def __len__(self) -> int:
        return len(self.by_id)

    def until(self, ids: "set[str] | frozenset[str]", within: float) -> None:
        """Wait until every one of these tasks has succeeded.

        Raises:
            BenchmarkError: not in time, or one of them ended in another way.
        """
        self.until_count(len(ids), within)
        deadline = time.monotonic() + within
        with self._news:
            while missing := ids - self.by_id.keys():
                self._wait(deadline, f"{len(missing)} of {len(ids)} tasks have no outcome after {within:g} s")
        failed = [self.by_id[task_id] for task_id in ids if self.by_id[task_id].state is not State.SUCCEEDED]
        if failed:
            raise BenchmarkError(
                f"{len(failed)} of {len(ids)} tasks did not succeed; {failed[0].id}: {failed[0].state}"
            )

    def until_count(self, count: int, within: float) -> None:
        """Wait until there are ``count`` outcomes.

        Raises:
            BenchmarkError: not in time.
        """
        deadline = time.monotonic() + within
        with self._news:
            while len(self.by_id) < count:
                self._wait(deadline, f"{len(self.by_id)} of {count} outcomes after {within:g} s")

    def ended(self) -> list[Ended]:
        """A copy of what came in so far, in that order."""
        with self._news:
            return list(self.by_id.values())

    def _wait(self, deadline: float, otherwise: str) -> None:
        if self._error is not None:
            raise BenchmarkError(f"reading outcomes: {self._error.str()}")
        left = deadline - time.monotonic()
        if left <= 0:
            raise BenchmarkError(otherwise)
        self._news.wait(left)

    def _read(self) -> None:
        try:
            while not self._stopping:
                first = self._consumer.poll(_POLL_SECONDS)
                if first is None:
                    continue
                now = time.monotonic()
                self._take([first, *self._consumer.consume(_BATCH, 0)], now)
        except KafkaException as error:
            self._error = error.args[0]
            with self._news:
                self._news.notify_all()

    def _take(self, messages: list[Any], now: float) -> None:
        with self._news:
            for message in messages:
                error = message.error()
                if error is not None:
                    if not error.retriable():
                        raise KafkaException(error)
                    continue
                ended = _decode(message.value())
                ended.seen_at = now
                if ended.id in self.by_id:
                    self.repeated += 1
                else:
                    self.by_id[ended.id] = ended
            self._news.notify_all()
