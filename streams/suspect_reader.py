"""What the log tells of suspects."""

from collections.abc import Iterable
from typing import Final

from confluent_kafka import Consumer, KafkaException, TopicPartition

from laneway.kafka.clients import reader_config
from laneway.kafka.reading import records_until
from schemas.errors import BrokerUnavailableError
from schemas.settings import Settings
from schemas.suspect import Suspect
from schemas.topics import Topics
from streams.suspects import read_suspect

_TIMEOUT: Final = 10.0


class SuspectReader:
    """Reads the suspects of partitions that came to this worker.

    Blocking: all methods block; call them in one thread at a time.
    """

    def __init__(self, settings: Settings) -> None:
        topics = Topics(settings.kafka.topic_prefix)
        self._topic = topics.suspects
        self._config = {
            **reader_config(settings, "laneway-suspects", "suspects"),
            "fetch.wait.max.ms": 2,
            "queued.max.messages.kbytes": 1_024,
        }
        self._consumer = Consumer(self._config)

    def read(self, partitions: Iterable[int]) -> list[Suspect]:
        """All of these partitions; there is hardly ever one.

        Raises:
            BrokerUnavailableError: the broker cannot tell now.
        """
        try:
            return [suspect for number in partitions for suspect in self._read(number)]
        except (KafkaException, TimeoutError) as error:
            # One that saw its brokers go may know none of the partitions any more, and asks nobody again.
            self._consumer.close()
            self._consumer = Consumer(self._config)
            raise BrokerUnavailableError(f"suspects not read: {error}") from error

    def close(self) -> None:
        """Release the client."""
        self._consumer.close()

    def _read(self, number: int) -> list[Suspect]:
        low, high = self._consumer.get_watermark_offsets(TopicPartition(self._topic, number), timeout=_TIMEOUT)
        found: dict[bytes, Suspect] = {}
        if low >= high:
            return []
        for record in records_until(self._consumer, self._topic, number, low, high):
            key, value = record.key() or b"", record.value()
            suspect = read_suspect(value) if value is not None else None
            if suspect is not None:
                found[key] = suspect
            else:
                found.pop(key, None)
        return list(found.values())
