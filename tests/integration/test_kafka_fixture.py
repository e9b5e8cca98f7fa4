"""The Kafka that tests are given is a real one: it keeps, compresses and gives back what any client puts there."""

from collections.abc import Callable

import pytest

from schemas.settings import Settings
from schemas.task import Lane, Priority
from schemas.topics import Topics
from tests.support.kafka import Codec, produce_raw, read_all


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_bytes_of_every_codec_come_back(
    codec: Codec, settings: Settings, topics_applied: Callable[..., Topics]
) -> None:
    lane = topics_applied("probe").lane(Lane("probe", Priority.LOW))
    values = [bytes([index]) * 2_000 for index in range(5)]

    offsets = produce_raw(
        settings.bootstrap_servers, lane, values, key=b"k", partition=3, headers=[("h", b"1")], codec=codec
    )

    records = read_all(settings.bootstrap_servers, lane)
    assert offsets == [0, 1, 2, 3, 4]
    assert [record.value for record in records] == values
    assert {(record.partition, record.key, record.header("h")) for record in records} == {(3, b"k", b"1")}
