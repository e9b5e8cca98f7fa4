"""Reading one partition of a compacted topic to the end that it had when the read began."""

import time
from collections.abc import Generator
from typing import Final

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

_BATCH: Final = 1_000
_HEARS_WITHIN: Final = 10.0


def records_until(consumer: Consumer, topic: str, number: int, start: int, end: int) -> Generator[Message]:
    """The records of a partition from ``start`` to ``end``; gaps of compaction count as read.

    Blocking: until all are read.

    Raises:
        KafkaException: the broker refuses.
        TimeoutError: nothing was heard for ten seconds.
    """
    consumer.assign([TopicPartition(topic, number, start)])
    position = start
    heard_at = time.monotonic()
    try:
        while position < end:
            # All at once would wait for a full batch, or for the whole of the time.
            first = consumer.poll(0.05)
            if first is None:
                if time.monotonic() - heard_at > _HEARS_WITHIN:
                    raise TimeoutError(f"{topic}-{number} stands at {position} of {end}")
                # Compaction may have taken the very last records: the consumer then stands at the end without one.
                position = max(position, consumer.position([TopicPartition(topic, number)])[0].offset)
                continue
            heard_at = time.monotonic()
            for record in (first, *consumer.consume(_BATCH, 0.0)):
                if record.error():
                    raise KafkaException(record.error())
                position = (record.offset() or 0) + 1
                yield record
    finally:
        # A fetch at the end of a partition holds up whatever the client asks of that broker next.
        consumer.unassign()
