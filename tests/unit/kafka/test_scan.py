"""A scan says whether it can tell all that was asked for."""

from typing import Any

import pytest

from laneway.kafka import scan
from laneway.kafka.scan import KeyScanner, _joined
from schemas.settings import KafkaSettings, Settings


class Log:
    """Stands for a consumer: a partition from ``low`` to before ``high``."""

    def __init__(self, low: int, high: int) -> None:
        self.low, self.high = low, high

    def get_watermark_offsets(self, *_: object, timeout: float) -> tuple[int, int]:
        return self.low, self.high

    def close(self) -> None:
        """Nothing."""


@pytest.fixture
def scanner(monkeypatch: pytest.MonkeyPatch) -> KeyScanner:
    monkeypatch.setattr(scan, "records_until", lambda *_: iter(()))
    return KeyScanner(Settings(kafka=KafkaSettings(bootstrap_servers="127.0.0.1:1")), "events", "test")


@pytest.mark.parametrize(
    ("low", "since", "complete"),
    [(0, 0, True), (10, 10, True), (10, 12, True), (10, 9, False)],
    ids=["all", "from its first", "from a later one", "from one that is gone"],
)
def test_what_retention_has_taken_is_missing(scanner: KeyScanner, low: int, since: int, complete: bool) -> None:
    log: Any = Log(low, 20)
    scanner._idle.put(log)
    assert scanner._read("events", 0, b"key", since, None, [], 100).complete is complete


def test_more_than_is_read_through_is_not_all(scanner: KeyScanner) -> None:
    log: Any = Log(0, 200)
    scanner._idle.put(log)
    assert not scanner._read("events", 0, b"key", 0, None, [], 100).complete


def test_stretches_that_overlap_are_one() -> None:
    assert _joined([(5, 9), (0, 3), (8, 12), (3, 4)]) == [(0, 4), (5, 12)]
