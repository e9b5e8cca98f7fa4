"""The Kafka that tests are given is a real one: it keeps, compresses and gives back what any client puts there."""

from collections.abc import Callable
from typing import get_args

from schemas.settings import Settings
from schemas.task import Lane, Priority
from schemas.topics import Topics
from tests.support.kafka import Codec, produce_raw, read_all


def test_bytes_of_every_codec_come_back(settings: Settings, topics_applied: Callable[..., Topics]) -> None:
    lane = topics_applied("probe").lane(Lane("probe", Priority.LOW))
    servers, codecs = settings.bootstrap_servers, get_args(Codec)
    values = [[bytes([number, index]) * 1_000 for index in range(5)] for number in range(len(codecs))]

    for number, codec in enumerate(codecs):
        offsets = produce_raw(servers, lane, values[number], key=b"k", partition=3, headers=[("h", b"1")], codec=codec)
        assert offsets == [5 * number + index for index in range(5)], codec

    records = read_all(servers, lane)
    assert [record.value for record in records] == [value for each in values for value in each]
    assert {(record.partition, record.key, record.header("h")) for record in records} == {(3, b"k", b"1")}
