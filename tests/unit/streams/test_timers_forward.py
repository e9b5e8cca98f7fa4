"""A record that has waited out its rung goes down a rung, in the end to its lane, and keeps what it says of its run."""

from datetime import UTC, datetime, timedelta

import pytest

from schemas import codec
from schemas.errors import UndecodableRecordError
from schemas.headers import MAY_REPEAT, Delivery, delivery_headers, read_delivery
from schemas.settings import Settings
from schemas.task import Task
from streams.timers import Forward, Timers

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
TASK = codec.encode({"id": "a", "type": "email", "payload": {}, "priority": "high"})
FOREIGN = [("x-foreign", b"1")]


def forwarded(waits: timedelta, *, marked: bool = False, repeated: bool = False) -> Forward:
    delivery = Delivery(attempt=2, deferrals=1, not_before=NOW + waits, repeated=marked)
    return Timers(Settings()).forward(TASK, FOREIGN + delivery_headers(delivery), NOW, repeated=repeated)


@pytest.mark.parametrize(
    ("waits", "topic"),
    [
        (timedelta(0), "laneway.tasks.email.high"),
        (timedelta(seconds=0.9), "laneway.tasks.email.high"),
        (timedelta(seconds=1), "laneway.retry.1s"),
        (timedelta(minutes=3), "laneway.retry.2m"),
        (timedelta(days=90), "laneway.retry.1d"),
    ],
)
def test_the_largest_rung_that_does_not_overshoot_else_the_lane(waits: timedelta, topic: str) -> None:
    onward = forwarded(waits)
    assert onward.topic == topic
    assert onward.key == codec.decode(TASK, Task).id.encode()
    assert read_delivery(onward.headers) == Delivery(2, 1, NOW + waits)
    assert FOREIGN[0] in onward.headers
    assert (onward.late is None) == topic.startswith("laneway.retry")


def test_how_late_it_comes_to_its_lane_is_told() -> None:
    assert forwarded(timedelta(seconds=-3)).late == timedelta(seconds=3)


def test_what_should_have_been_moved_is_overdue_until_it_has_been() -> None:
    """Also while it is under way, when nothing of it lies in memory any more: a broker that is away takes long."""
    timers = Timers(Settings())
    assert timers.overdue(NOW) == 0
    timers._due = [(NOW + timedelta(seconds=1), ("laneway.retry.1s", 0))]
    assert timers.overdue(NOW) == 0
    assert timers.overdue(NOW + timedelta(seconds=6)) == 5
    timers._owed, timers._due = NOW, []
    assert timers.overdue(NOW + timedelta(seconds=6)) == 6


@pytest.mark.parametrize("waits", [timedelta(0), timedelta(hours=2)])
@pytest.mark.parametrize(("marked", "repeated"), [(True, False), (False, True), (True, True)])
def test_what_may_be_a_repetition_says_so_on_every_rung(waits: timedelta, marked: bool, repeated: bool) -> None:
    headers = forwarded(waits, marked=marked, repeated=repeated).headers
    assert headers.count(MAY_REPEAT) == 1
    assert read_delivery(headers).repeated


def test_what_is_no_task_goes_nowhere() -> None:
    with pytest.raises(UndecodableRecordError):
        Timers(Settings()).forward(b"{", [], NOW)
