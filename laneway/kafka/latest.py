"""The newest records of a topic."""

from typing import Final

from confluent_kafka import Consumer, KafkaException, TopicPartition

from laneway.kafka.clients import reader_config
from laneway.kafka.reading import records_until
from schemas.errors import BrokerUnavailableError
from schemas.settings import Settings

_TIMEOUT: Final = 5.0


def latest_values(settings: Settings, topic: str, most: int) -> list[bytes]:
    """Value of each of the newest records, at most ``most`` of each partition; in the order of the log within one.

    Blocking: some 50 ms for each partition that has any.

    Raises:
        BrokerUnavailableError: the broker does not answer, or does not have the topic.
    """
    consumer = Consumer(
        {
            **reader_config(settings, "laneway-latest", "latest"),
            "fetch.wait.max.ms": 2,
        }
    )
    values: list[bytes] = []
    try:
        for number in range(settings.kafka.partitions):
            low, high = consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=_TIMEOUT)
            records = records_until(consumer, topic, number, max(low, high - most), high)
            values += [value for record in records if (value := record.value()) is not None]
    except (KafkaException, TimeoutError) as error:
        raise BrokerUnavailableError(f"{topic} cannot be read: {error}") from error
    finally:
        consumer.close()
    return values
