"""Where partitions begin and end, asked of whoever leads them."""

import contextlib
import threading
import time
from collections.abc import Iterable
from typing import Final

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, KafkaError, KafkaException, TopicPartition

from laneway.kafka.clients import reader_config
from schemas.errors import BrokerUnavailableError
from schemas.settings import Settings

EARLIEST: Final = OFFSET_BEGINNING
LATEST: Final = OFFSET_END
# As times, which is how they are asked for, the protocol means the same by the same numbers.
_FIRST_TRY: Final = 1.0
_NEXT_TRY: Final = 0.4
"""Seconds: a request to a dead leader lies in the client until its time is up, so once one did, short ones follow."""
_BACKOFF: Final = 0.1
_SHORTEST_TRY: Final = 0.05
_SERVE_EVERY: Final = 0.5
IDLE_SECONDS: Final = 300.0
"""From the last question on, until the client is closed; the next one has to connect first."""

Place = tuple[str, int]


class OffsetAsker:
    """Asks, and asks again with fresh metadata while leaders move.

    By a consumer that joins no group. librdkafka's admin client must not be asked: while a partition's leader is away
    ``list_offsets`` keeps two cores busy until its time is up, and then tells -1001 for that partition as if it were an
    offset, also when there is another leader long since (librdkafka #4620 is one cause of it).

    All methods may be called in any thread; questions take turns, as a consumer demands. Nobody needs to close it: what
    is not asked has no client and no thread.
    """

    def __init__(self, settings: Settings, client_id: str) -> None:
        self._config = reader_config(settings, client_id, "offsets")
        self._client_id = client_id
        self._turn = threading.Lock()
        self._consumer: Consumer | None = None
        self._used_at = 0.0
        self._closed = threading.Event()

    def ask(self, places: Iterable[Place], at: int, *, within: float) -> dict[Place, int]:
        """Offset of each place, as it is at some moment after the call.

        Args:
            places: topics and partitions.
            at: ``LATEST``, where the next record will lie; ``EARLIEST``, the first that is kept; else milliseconds of
                the epoch: the first record of that time or later, and -1 where there is none.
            within: seconds.

        Blocking: some milliseconds, with the first question in a while some 50, and while a partition has no leader
            ``within`` and a moment at most.

        Raises:
            BrokerUnavailableError: not every place is answered for in time, there can be no client, or it was closed.
        """
        asked = [TopicPartition(*place, at) for place in places]
        if not asked:
            return {}
        deadline = time.monotonic() + within
        if not self._turn.acquire(timeout=within):
            raise BrokerUnavailableError("those who asked before still wait for an answer")
        try:
            return self._ask(self._client(), asked, at, deadline)
        except KafkaException as error:
            raise BrokerUnavailableError(error.args[0].str()) from error
        finally:
            self._used_at = time.monotonic()
            self._turn.release()

    def close(self) -> None:
        """Give up what is under way with its next failure; nothing more is asked."""
        self._closed.set()

    def _ask(self, consumer: Consumer, asked: list[TopicPartition], at: int, deadline: float) -> dict[Place, int]:
        seconds = _FIRST_TRY
        while True:
            try:
                return _offsets(consumer, asked, at, _bounded(seconds, deadline))
            except KafkaException:
                if time.monotonic() + _BACKOFF >= deadline or self._closed.wait(_BACKOFF):
                    raise
            _learn(consumer, {place.topic for place in asked}, _bounded(_FIRST_TRY, deadline))
            seconds = _NEXT_TRY

    def _client(self) -> Consumer:
        if self._closed.is_set():
            raise BrokerUnavailableError("nothing is asked any more")
        if self._consumer is None:
            consumer = Consumer(self._config)
            name = f"{self._client_id}-client"
            threading.Thread(target=self._serve, args=(consumer,), name=name, daemon=True).start()
            self._consumer = consumer
        return self._consumer

    def _serve(self, consumer: Consumer) -> None:
        """Take what the client has to say, which it would keep for ever otherwise, and close it once nobody asks."""
        while True:
            time.sleep(_SERVE_EVERY)
            with self._turn:
                with contextlib.suppress(Exception):  # of what writes the log: full disks must not end the listening
                    consumer.poll(0)
                if self._closed.is_set() or time.monotonic() - self._used_at > IDLE_SECONDS:
                    self._consumer = None
                    break
        with contextlib.suppress(Exception):  # the same
            consumer.close()


def _bounded(seconds: float, deadline: float) -> float:
    return max(_SHORTEST_TRY, min(seconds, deadline - time.monotonic()))


def _offsets(consumer: Consumer, asked: list[TopicPartition], at: int, seconds: float) -> dict[Place, int]:
    found: dict[Place, int] = {}
    for each in consumer.offsets_for_times(asked, timeout=seconds):
        place = f"{each.topic}-{each.partition}"
        if each.error is not None:
            raise KafkaException(KafkaError(each.error.code(), f"{place}: {each.error.str()}"))
        # What the brokers left out stands there as it was asked.
        if each.offset == at or (each.offset < 0 and at < 0):
            raise KafkaException(KafkaError(KafkaError.LEADER_NOT_AVAILABLE, f"{place}: nobody answered for it"))
        found[each.topic, each.partition] = each.offset
    return found


def _learn(consumer: Consumer, topics: set[str], seconds: float) -> None:
    """Who leads is kept for minutes, in spite of errors, unless it is asked for."""
    with contextlib.suppress(KafkaException):  # no broker at all: told by the next try
        consumer.list_topics(topics.pop() if len(topics) == 1 else None, timeout=seconds)
