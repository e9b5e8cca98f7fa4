"""Reading suspects is not given up for ever with a client that lost its way."""

from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from schemas.errors import BrokerUnavailableError
from schemas.settings import KafkaSettings, Settings
from streams import suspect_reader


class Client:
    """Stands for a client: the first one of a test knows no partition any more."""

    made = 0
    closed = 0

    def __init__(self, _: dict[str, Any]) -> None:
        Client.made += 1
        self.lost = Client.made == 1

    def get_watermark_offsets(self, *_: object, **__: object) -> tuple[int, int]:
        if self.lost:
            raise KafkaException(KafkaError(KafkaError._UNKNOWN_PARTITION))
        return 0, 0

    def close(self) -> None:
        Client.closed += 1


def test_a_client_that_lost_its_way_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suspect_reader, "Consumer", Client)
    reader = suspect_reader.SuspectReader(Settings(kafka=KafkaSettings(bootstrap_servers="127.0.0.1:1")))
    with pytest.raises(BrokerUnavailableError):
        reader.read([2])
    assert reader.read([2]) == []
    assert (Client.made, Client.closed) == (2, 1)
