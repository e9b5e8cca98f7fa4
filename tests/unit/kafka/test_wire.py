"""Bytes of batches and answers are as Kafka has them, by the word of another implementation."""

import struct

import pytest
from aiokafka.record.default_records import DefaultRecordBatch
from hypothesis import given
from hypothesis import strategies as st

from laneway.kafka import wire
from laneway.kafka.wire import ProducerIdentity, encoded_record, read_body, record_batch, record_head

HEADERS = st.lists(st.tuples(st.text(max_size=20), st.binary(max_size=300)), max_size=8)
RECORDS = st.lists(st.tuples(st.binary(max_size=200), st.binary(max_size=20_000), HEADERS), min_size=1, max_size=20)


@given(records=RECORDS, sequence=st.integers(0, 2**31 - 1))
def test_a_batch_is_read_back_by_another_client(
    records: list[tuple[bytes, bytes, list[tuple[str, bytes]]]], sequence: int
) -> None:
    parts: list[bytes] = []
    for place, (key, value, headers) in enumerate(records):
        body = encoded_record("t", 0, key, value, headers).body
        assert read_body(body) == (key, value, headers)
        parts += (record_head(len(body), place), body)
    made = record_batch(parts, len(records), ProducerIdentity(77, 3), sequence)
    batch = DefaultRecordBatch(bytearray(made))
    assert batch.validate_crc()
    assert (batch.producer_id, batch.producer_epoch, batch.base_sequence) == (77, 3, sequence)
    read = [(each.offset, each.key, each.value, list(each.headers)) for each in batch]
    assert read == [(place, key, value, headers) for place, (key, value, headers) in enumerate(records)]


@pytest.mark.parametrize("place", [0, 63, 64, 65, 8_191, 8_192, 70_000])
def test_the_place_of_a_record_is_a_varint_of_any_length(place: int) -> None:
    head = record_head(10, place)
    length, position = wire._read_varint(head, 0)
    assert length == 10 + len(head) - position
    assert head[position : position + 2] == b"\x00\x00"
    assert wire._read_varint(head, position + 2) == (place, len(head))


def test_a_produce_answer_tells_each_partition() -> None:
    partitions = struct.pack(">ihqqq", 4, 0, 100, -1, 0) + struct.pack(">ihqqq", 5, 6, -1, -1, -1)
    frame = struct.pack(">ii", 9, 1) + b"\x00\x03a.b" + struct.pack(">i", 2) + partitions + struct.pack(">i", 0)
    assert [tuple(answer) for answer in wire.read_produce_answer(frame)] == [("a.b", 4, 0, 100), ("a.b", 5, 6, -1)]
