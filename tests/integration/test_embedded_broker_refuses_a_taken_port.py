"""A taken port is an error that names the option, whether it is seen before Java starts or by Java."""

import socket
from pathlib import Path

import pytest

from laneway.kafka import broker
from laneway.kafka.broker import EmbeddedKafka
from schemas.errors import ConfigurationError


def test_it_is_told_at_once(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ConfigurationError, match=rf"^--kafka-port: saw {port}, want a free port"):
            EmbeddedKafka(tmp_path, port=port).start()


def test_it_is_told_when_somebody_took_it_in_between(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[int] = []

    def free_until_java_looks(port: int) -> bool:
        looks.append(port)
        return len(looks) <= 2  # the look before formatting, and the one before the start

    monkeypatch.setattr(broker, "is_free", free_until_java_looks)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        kafka = EmbeddedKafka(tmp_path, port=port)
        with pytest.raises(ConfigurationError, match=rf"^--kafka-port: saw {port}, want a free port"):
            kafka.start()
        assert kafka.pids == {}


def test_a_port_that_was_given_is_used(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with EmbeddedKafka(tmp_path, port=port) as kafka:
        assert kafka.bootstrap_servers == f"127.0.0.1:{port}"
