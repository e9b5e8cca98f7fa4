"""What cannot be appended is refused in time, and holds nothing else up."""

import time

import pytest

from laneway.kafka.appender import LogAppender
from laneway.kafka.wire import encoded_record
from schemas.errors import BrokerUnavailableError, RecordTooLargeError
from schemas.settings import Settings
from schemas.topics import MAX_RECORD_BYTES
from tests.support.kafka import apply_topics, read_all


async def test_refusals(settings: Settings) -> None:
    topics = apply_topics(settings, ["t"])
    log = LogAppender(settings, "test", delivery_timeout=3.0)
    try:
        good = encoded_record(topics.events, 0, b"good", b"x", [])
        large = encoded_record(topics.events, 0, b"large", b"x" * MAX_RECORD_BYTES, [])
        with pytest.raises(RecordTooLargeError):
            await log.send([good, large])
        given_up = log.send([encoded_record("no-such-topic", 1, b"k", b"v", [])])
        given_up.cancel()  # counts as failed all the same
        began = time.monotonic()
        missing = log.send([encoded_record("no-such-topic", 0, b"k", b"v", []), good])
        await log.send([good])
        assert time.monotonic() - began < 2.5
        with pytest.raises(BrokerUnavailableError):
            await missing
        assert time.monotonic() - began < 6
        # As large as the log takes, in one go with others: batches are split, nothing is lost.
        size = MAX_RECORD_BYTES - 2_000
        many = [encoded_record(topics.events, 1, b"%d" % number, bytes([number]) * size, []) for number in range(8)]
        many += [encoded_record(topics.events, 1, b"small-%d" % number, b"x", []) for number in range(2_000)]
        appended = await log.send(many)
        assert appended.last == {(topics.events, 1): len(many) - 1}
        assert log.failures == 3
    finally:
        await log.close()
    records = read_all(settings.bootstrap_servers, topics.events)
    assert [record.key for record in records if record.partition == 1] == [
        *(b"%d" % number for number in range(8)),
        *(b"small-%d" % number for number in range(2_000)),
    ]
    assert b"large" not in {record.key for record in records}
    with pytest.raises(BrokerUnavailableError):
        await log.send([good])
