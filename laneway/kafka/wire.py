"""Bytes of Kafka's protocol, as far as appending needs them: record batches, and four requests with their answers.

Versions are those of Kafka 2.1 and later that brokers up to 4.x still speak, all without tagged fields.
"""

import struct
import time
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

import cramjam
import google_crc32c

from schemas.headers import Headers

PRODUCE: Final = 0
METADATA: Final = 3
INIT_PRODUCER_ID: Final = 22
_VERSIONS: Final = {PRODUCE: 7, METADATA: 5, INIT_PRODUCER_ID: 1}

_COMPRESSED_FROM: Final = 3_000
"""Bytes of a batch below which compression costs more than it saves."""
_LZ4: Final = 3

_REQUEST: Final = struct.Struct(">ihhi")
_BATCH_HEAD: Final = struct.Struct(">qiibI")
_BATCH_BODY: Final = struct.Struct(">hiqqqhii")
_BATCH_UNCOUNTED: Final = 12
"""Bytes of a batch that its own length does not count."""
_PARTITION_HEAD: Final = struct.Struct(">ii")
_PARTITION_ANSWER: Final = struct.Struct(">ihqqq")
_INT: Final = struct.Struct(">i")
_SHORT: Final = struct.Struct(">h")
_PRODUCER_ID: Final = struct.Struct(">ihqh")


class EncodedRecord(NamedTuple):
    """A record to be appended."""

    topic: str
    partition: int
    body: bytes
    """See ``encoded_record``."""


class ProducerIdentity(NamedTuple):
    """What the broker tells repetitions by."""

    id: int
    epoch: int


class PartitionAnswer(NamedTuple):
    """What a broker says to one batch."""

    topic: str
    partition: int
    error: int
    """Kafka's code; 0 is none."""
    offset: int
    """Of the batch's first record."""


class Metadata(NamedTuple):
    """Who leads what."""

    brokers: dict[int, tuple[str, int]]
    leaders: dict[tuple[str, int], int]
    """Node by topic and partition; what has no leader now is missing."""


def _varint(value: int) -> bytes:
    left = value << 1 if value >= 0 else (-value << 1) - 1
    out = bytearray()
    while left > 0x7F:
        out.append(0x80 | (left & 0x7F))
        left >>= 7
    out.append(left)
    return bytes(out)


_VARINTS: Final = [_varint(value) for value in range(1 << 13)]
"""Most lengths are short, and looking one up is cheaper than making it."""


_NULL: Final = _varint(-1)
_SHORT_PLACES: Final = 64
"""Places whose varint is one byte."""
_PLACES: Final = [b"\x00\x00" + _varint(place) for place in range(_SHORT_PLACES)]


def varint(value: int) -> bytes:
    """A number as records carry it."""
    return _VARINTS[value] if 0 <= value < len(_VARINTS) else _varint(value)


@lru_cache(maxsize=8_192)
def record_header(name: str, value: bytes) -> bytes:
    """One header as records carry it; several are joined."""
    encoded = name.encode()
    return b"%b%b%b%b" % (varint(len(encoded)), encoded, varint(len(value)), value)


def encoded_record(
    topic: str, partition: int, key: bytes | None, value: bytes | None, headers: Headers
) -> EncodedRecord:
    """A record in the form that ``record_batch`` joins.

    Its body is all but what ``record_head`` tells: key, value and headers, each after its length.
    """
    body = [
        _NULL if key is None else varint(len(key)),
        key or b"",
        _NULL if value is None else varint(len(value)),
        value or b"",
        varint(len(headers)),
    ]
    body += [record_header(*header) for header in headers]
    return EncodedRecord(topic, partition, b"".join(body))


def joined_record(topic: str, partition: int, key: bytes, value: bytes, count: int, *headers: bytes) -> EncodedRecord:
    """As ``encoded_record``, of ``count`` headers that are in their form already, one or several in each part."""
    parts = (varint(len(key)), key, varint(len(value)), value, varint(count), *headers)
    return EncodedRecord(topic, partition, b"".join(parts))


def own_header(name: bytes, value: bytes) -> bytes:
    """As ``record_header``, of a value that no other record has: it is not worth remembering."""
    return b"%b%b%b%b" % (varint(len(name)), name, varint(len(value)), value)


def read_body(body: bytes) -> tuple[bytes | None, bytes | None, Headers]:
    """Key, value and headers of a record's body."""
    key, position = _counted_or_null(body, 0)
    value, position = _counted_or_null(body, position)
    count, position = _read_varint(body, position)
    headers: Headers = []
    for _ in range(count):
        name, position = _counted(body, position)
        content, position = _counted(body, position)
        headers.append((name.decode(), content))
    return key, value, headers


def record_head(size: int, place: int) -> bytes:
    """What stands before the body of a record: ``size`` of the body, and its place in the batch, counted from 0."""
    # Attributes and the time since the batch's are zero: every record of a batch is as old as the batch.
    if place < _SHORT_PLACES:
        return varint(size + 3) + _PLACES[place]
    delta = varint(place)
    return b"%b\x00\x00%b" % (varint(size + len(delta) + 2), delta)


def record_batch(parts: Sequence[bytes], count: int, identity: ProducerIdentity, sequence: int) -> bytes:
    """A batch of ``count`` records as it lies in the log (format 2), compressed where that pays."""
    content = b"".join(parts)
    attributes = 0
    if len(content) >= _COMPRESSED_FROM:
        # Brokers do not read blocks that lean on the one before (KIP-57).
        compressor = cramjam.lz4.Compressor(level=1, content_checksum=False, block_linked=False)
        compressor.compress(content)
        content = bytes(compressor.finish())
        attributes = _LZ4
    now = int(time.time() * 1000)
    body = _BATCH_BODY.pack(attributes, count - 1, now, now, identity.id, identity.epoch, sequence, count) + content
    head = _BATCH_HEAD.pack(0, len(body) + _BATCH_HEAD.size - _BATCH_UNCOUNTED, -1, 2, google_crc32c.value(body))
    return head + body


def produce_request(
    correlation: int, client_id: bytes, timeout_ms: int, topics: dict[str, list[tuple[int, bytes]]]
) -> bytes:
    """A request to append batches, on every in-sync replica, with its length before it."""
    parts = [struct.pack(">hhii", -1, -1, timeout_ms, len(topics))]
    for topic, batches in topics.items():
        name = topic.encode()
        parts += (_SHORT.pack(len(name)), name, _INT.pack(len(batches)))
        for partition, batch in batches:
            parts += (_PARTITION_HEAD.pack(partition, len(batch)), batch)
    return _framed(PRODUCE, correlation, client_id, b"".join(parts))


def read_produce_answer(frame: bytes) -> list[PartitionAnswer]:
    """The answer to ``produce_request``."""
    answers: list[PartitionAnswer] = []
    position = 4
    (topics,) = _INT.unpack_from(frame, position)
    position += 4
    for _ in range(topics):
        topic, position = _string(frame, position)
        (partitions,) = _INT.unpack_from(frame, position)
        position += 4
        for _ in range(partitions):
            partition, error, offset, _, _ = _PARTITION_ANSWER.unpack_from(frame, position)
            answers.append(PartitionAnswer(topic or "", partition, error, offset))
            position += _PARTITION_ANSWER.size
    return answers


def metadata_request(correlation: int, client_id: bytes, topics: Iterable[str]) -> bytes:
    """A request for the leaders of topics; none of them is made by asking."""
    names = [topic.encode() for topic in topics]
    body = b"".join([_INT.pack(len(names)), *(_SHORT.pack(len(name)) + name for name in names), b"\x00"])
    return _framed(METADATA, correlation, client_id, body)


def read_metadata(frame: bytes) -> Metadata:
    """The answer to ``metadata_request``."""
    brokers: dict[int, tuple[str, int]] = {}
    leaders: dict[tuple[str, int], int] = {}
    position = 8
    (count,) = _INT.unpack_from(frame, position)
    position += 4
    for _ in range(count):
        (node,) = _INT.unpack_from(frame, position)
        host, position = _string(frame, position + 4)
        (port,) = _INT.unpack_from(frame, position)
        _, position = _string(frame, position + 4)
        brokers[node] = (host or "", port)
    _, position = _string(frame, position)
    (topics,) = _INT.unpack_from(frame, position + 4)
    position += 8
    for _ in range(topics):
        topic, position = _string(frame, position + 2)
        (partitions,) = _INT.unpack_from(frame, position + 1)
        position += 5
        for _ in range(partitions):
            error, partition, leader = struct.unpack_from(">hii", frame, position)
            position += 10
            for _ in range(3):  # replicas, those in sync, those offline
                (length,) = _INT.unpack_from(frame, position)
                position += 4 + 4 * length
            if leader >= 0 and not error:
                leaders[topic or "", partition] = leader
    return Metadata(brokers, leaders)


def producer_id_request(correlation: int, client_id: bytes) -> bytes:
    """A request for an identity to append under."""
    return _framed(INIT_PRODUCER_ID, correlation, client_id, struct.pack(">hi", -1, 60_000))


def read_producer_id(frame: bytes) -> tuple[int, ProducerIdentity]:
    """The answer to ``producer_id_request``: an error code, and the identity where that is 0."""
    _, error, producer_id, epoch = _PRODUCER_ID.unpack_from(frame, 4)
    return error, ProducerIdentity(producer_id, epoch)


def _framed(api: int, correlation: int, client_id: bytes, body: bytes) -> bytes:
    size = 10 + len(client_id) + len(body)
    return b"".join(
        (_REQUEST.pack(size, api, _VERSIONS[api], correlation), _SHORT.pack(len(client_id)), client_id, body)
    )


def _string(frame: bytes, position: int) -> tuple[str | None, int]:
    (length,) = _SHORT.unpack_from(frame, position)
    position += 2
    if length < 0:
        return None, position
    return frame[position : position + length].decode(), position + length


def _counted_or_null(body: bytes, position: int) -> tuple[bytes | None, int]:
    if body[position : position + 1] == _NULL:
        return None, position + 1
    return _counted(body, position)


def _counted(body: bytes, position: int) -> tuple[bytes, int]:
    length, position = _read_varint(body, position)
    return body[position : position + length], position + length


def _read_varint(body: bytes, position: int) -> tuple[int, int]:
    """A number that is not negative."""
    value = shift = 0
    while True:
        byte = body[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value >> 1, position
        shift += 7
