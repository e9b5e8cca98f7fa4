"""The view applies few large batches where it is busy; what is told of a ``high`` task does not wait for one."""

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ingest.view.materialiser import Materialiser, urgent_first
from ingest.view.store import StatusRecord
from schemas.codec import encode
from schemas.settings import KafkaSettings, Settings
from schemas.status import State, Status
from schemas.task import Priority

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Message:
    def __init__(self, priority: Priority) -> None:
        self._value = encode(
            Status(
                id="0199f3c2-7a10-7c4e-9d2b-5f1c0a9b7e31",
                type="billing.invoice",
                priority=priority,
                state=State.SUCCEEDED,
                max_attempts=3,
                created_at=NOW,
                updated_at=NOW,
            )
        )

    def value(self) -> bytes:
        return self._value


class Consumer:
    """Has a record at once, and others one by one."""

    def __init__(self, *following: Priority) -> None:
        self._coming = [Message(priority) for priority in (Priority.LOW, *following)]

    def poll(self, timeout: float) -> Message | None:
        if self._coming:
            return self._coming.pop(0)
        time.sleep(timeout)
        return None

    def consume(self, _: int, timeout: float) -> list[Message]:
        assert timeout == 0, "waits for as many as it may bring, whatever comes"
        return []


@pytest.fixture
def view(tmp_path: Path) -> Materialiser:
    return Materialiser(Settings(kafka=KafkaSettings(bootstrap_servers="127.0.0.1:1"), data_dir=tmp_path))


def test_a_high_one_ends_the_wait_for_more(view: Materialiser) -> None:
    view._next_at = time.monotonic() + 3600
    consumer: Any = Consumer(Priority.LOW, Priority.HIGH, Priority.LOW)
    assert len(view._messages(consumer)) == 3


def test_others_are_waited_for(view: Materialiser) -> None:
    view._next_at = until = time.monotonic() + 0.05
    consumer: Any = Consumer(Priority.LOW, Priority.NORMAL, Priority.LOW)
    assert len(view._messages(consumer)) == 4
    assert time.monotonic() >= until


def test_a_stream_of_high_ones_is_applied_at_a_pace(view: Materialiser) -> None:
    view._next_at = view._next_high_at = until = time.monotonic() + 0.05
    consumer: Any = Consumer(Priority.HIGH, Priority.HIGH, Priority.LOW)
    assert len(view._messages(consumer)) == 4
    assert until <= time.monotonic() < view._next_high_at


def test_nobody_waits_when_none_were_applied_just_now(view: Materialiser) -> None:
    consumer: Any = Consumer(Priority.LOW, Priority.LOW)
    assert len(view._messages(consumer)) == 1


def record(offset: int, key: bytes, priority: Priority | None) -> StatusRecord:
    return StatusRecord(0, offset, key, Message(priority).value() if priority else None)


def test_a_high_one_is_applied_before_the_others_of_its_batch() -> None:
    others = [record(offset, b"low-%d" % offset, Priority.LOW) for offset in range(30)]
    high = record(30, b"high", Priority.HIGH)
    assert urgent_first([*others, high]) == ([high], others)


def test_what_was_written_under_one_key_stays_in_its_order() -> None:
    others = [record(offset, b"low-%d" % offset, Priority.LOW) for offset in range(30)]
    high = record(31, b"high", Priority.HIGH)
    before, after = record(30, b"high", Priority.LOW), record(32, b"high", None)
    assert urgent_first([*others, before, high, after]) == ([before, high, after], others)


@pytest.mark.parametrize(("low", "high"), [(30, 0), (0, 3), (3, 1), (30, 8)])
def test_a_batch_stays_whole_where_dividing_it_gains_little(low: int, high: int) -> None:
    batch = [record(offset, b"low-%d" % offset, Priority.LOW) for offset in range(low)]
    batch += [record(low + offset, b"high-%d" % offset, Priority.HIGH) for offset in range(high)]
    assert urgent_first(batch) == ([], batch)
