"""The view applies few large batches where it is busy; what is told of a ``high`` task does not wait for one."""

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ingest.view.materialiser import Materialiser
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
        self._following = [Message(priority) for priority in following]

    def poll(self, _: float) -> Message:
        return Message(Priority.LOW)

    def consume(self, _: int, timeout: float) -> list[Message]:
        if self._following:
            return [self._following.pop(0)]
        time.sleep(timeout)
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
    assert time.monotonic() >= until - 0.003
