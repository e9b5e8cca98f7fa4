"""Where partitions begin and end, asked of whoever leads them."""

import contextlib
import threading
import time
from collections.abc import Iterable
from typing import Final

from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    OFFSET_INVALID,
    Consumer,
    KafkaError,
    KafkaException,
    TopicPartition,
)

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

Place = tuple[str, int]


class OffsetAsker:
    """Asks, and asks again with fresh metadata while leaders move.

    By a consumer that joins no group. librdkafka's admin client must not be asked: while a partition's leader is away
    ``list_offsets`` keeps two cores busy until its time is up, and then tells -1001 for that partition as if it were an
    offset, also when there is another leader long since (librdkafka #4620 is one cause of it).

    All methods may be called in any thread.
    """

    def __init__(self, settings: Settings, client_id: str) -> None:
        self._config = reader_config(settings, client_id, "offsets")
        self._consumer: Consumer | None = None
        self._lock = threading.Lock()
        self._closed = threading.Event()

    def ask(self, places: Iterable[Place], at: int, *, within: float) -> dict[Place, int]:
        """Offset of each place, as it is at some moment after the call.

        Args:
            places: topics and partitions.
            at: ``LATEST``, where the next record will lie; ``EARLIEST``, the first that is kept; else milliseconds of
                the epoch: the first record of that time or later, and -1 where there is none.
            within: seconds.

        Blocking: some milliseconds, and while a partition has no leader up to ``within``.

        Raises:
            BrokerUnavailableError: not every place is answered for in time.
        """
        asked = [TopicPartition(*place, at) for place in places]
        if not asked:
            return {}
        deadline = time.monotonic() + within
        left, seconds = within, _FIRST_TRY
        while True:
            try:
                return self._try(asked, min(seconds, left))
            except KafkaException as error:
                left = deadline - _BACKOFF - time.monotonic()
                if left <= 0 or self._closed.wait(_BACKOFF):
                    raise BrokerUnavailableError(error.args[0].str()) from error
            seconds = _NEXT_TRY
            self._learn({place.topic for place in asked}, min(_FIRST_TRY, left))

    def close(self) -> None:
        """Give up what is under way with its next failure."""
        self._closed.set()

    def _try(self, asked: list[TopicPartition], seconds: float) -> dict[Place, int]:
        found: dict[Place, int] = {}
        for each in self._client().offsets_for_times(asked, timeout=seconds):
            if each.error is not None:
                raise KafkaException(each.error)
            if each.offset == OFFSET_INVALID:
                raise KafkaException(KafkaError(KafkaError.LEADER_NOT_AVAILABLE, f"{each.topic}-{each.partition}"))
            found[each.topic, each.partition] = each.offset
        return found

    def _learn(self, topics: set[str], seconds: float) -> None:
        """Who leads is kept for minutes, in spite of errors, unless it is asked for."""
        with contextlib.suppress(KafkaException):  # no broker at all: told by the next try
            for topic in topics:
                self._client().list_topics(topic, timeout=seconds)

    def _client(self) -> Consumer:
        # Made when it is first needed, which for most workers is never: it has threads of its own.
        with self._lock:
            self._consumer = self._consumer or Consumer(self._config)
            return self._consumer
