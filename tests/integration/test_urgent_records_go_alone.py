"""What is urgent is in the log at once, and takes along nothing of the rest, which keeps its pace."""

import asyncio

from laneway.kafka.appender import LogAppender
from laneway.kafka.wire import EncodedRecord, encoded_record
from schemas.settings import Settings
from tests.support.kafka import apply_topics, read_all


async def test_they_do(settings: Settings) -> None:
    topics = apply_topics(settings, ["t"])
    log = LogAppender(settings, "test", delivery_timeout=20.0, pace=4.0)

    def record(partition: int, key: bytes) -> EncodedRecord:
        return encoded_record(topics.events, partition, key, b"x", [])

    try:
        await log.send([record(0, b"first")])
        paced = log.send([record(0, b"paced")])
        urgent = [log.send([record(1, b"urgent")], urgent=True), log.send([record(1, b"next")], urgent=True)]
        await asyncio.gather(*urgent)
        assert not paced.done()
        # What is urgent behind what is not takes it along: a partition has one order.
        behind = log.send([record(0, b"behind")], urgent=True)
        await asyncio.wait([behind])
        assert paced.done()
        later = log.send([record(2, b"later")])
        await later
    finally:
        await log.close()
    found = read_all(settings.bootstrap_servers, topics.events)
    assert [each.key for each in found if each.partition == 0] == [b"first", b"paced", b"behind"]
    assert [each.key for each in found if each.partition == 1] == [b"urgent", b"next"]
    assert [each.key for each in found if each.partition == 2] == [b"later"]
