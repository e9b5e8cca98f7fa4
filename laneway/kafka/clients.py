"""Configuration that every Kafka client of ours starts from."""

import time
from typing import Any, Final

import structlog
from confluent_kafka import KafkaError, KafkaException, Message

from schemas.settings import Settings

_REPEAT_SECONDS: Final = 30.0
_AWAY: Final = frozenset({KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT})


class ClientLogger:
    """Where librdkafka writes: into our log, each line at most once in ``_REPEAT_SECONDS``.

    While a broker is away librdkafka writes a line for every try; the first says it all.
    """

    def __init__(self, client_id: str) -> None:
        self._out = structlog.get_logger("kafka").bind(client=client_id)
        self._seen: dict[str, float] = {}

    def log(self, level: int, msg: object, *args: object) -> None:
        """Take a line, as ``logging.Logger.log`` would: that is all of a logger that librdkafka's binding calls."""
        facility = str(args[0]) if args else ""
        now = time.monotonic()
        if now - self._seen.get(facility, -_REPEAT_SECONDS) < _REPEAT_SECONDS:
            return
        self._seen[facility] = now
        self._out.log(level, "kafka client", facility=facility, said=str(args[-1] if args else msg))


def client_config(settings: Settings, client_id: str) -> dict[str, Any]:
    """Options for any confluent-kafka client.

    Raises:
        ConfigurationError: no cluster is set.
    """
    return {
        "bootstrap.servers": settings.bootstrap_servers,
        "client.id": client_id,
        "logger": ClientLogger(client_id),
        # A broker that was away is found again within a second instead of ten.
        "reconnect.backoff.max.ms": 1_000,
        "socket.keepalive.enable": True,
        **settings.kafka.client_options,
    }


def reader_config(settings: Settings, client_id: str, name: str) -> dict[str, Any]:
    """Options for a consumer that assigns itself partitions and keeps its positions itself.

    Args:
        settings: say which cluster.
        client_id: of the client.
        name: of the group that the client demands, and that it never joins.

    Raises:
        ConfigurationError: no cluster is set.
    """
    return {
        **client_config(settings, client_id),
        "group.id": f"{settings.kafka.topic_prefix}{name}",
        "enable.auto.commit": False,
    }


def failure(message: Message) -> KafkaError | None:
    """What a consumer was given instead of a record, unless the client mends it by itself.

    Raises:
        KafkaException: the broker refuses.
    """
    error = message.error()
    if error is not None and error.code() not in _AWAY and error.code() != KafkaError._PARTITION_EOF:
        raise KafkaException(error)
    return error


def message_headers(message: Message) -> list[tuple[str, bytes]]:
    """Headers of a record as pairs; those without a value say nothing."""
    headers = message.headers() or []
    pairs = headers.items() if isinstance(headers, dict) else headers
    return [(name, value.encode() if isinstance(value, str) else value) for name, value in pairs if value is not None]
