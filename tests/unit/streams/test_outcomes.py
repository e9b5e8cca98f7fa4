"""What ended under a lost lease waits, and a run in place that was followed by another is known."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import msgspec
import pytest
from aiokafka.structs import ConsumerRecord

from laneway.kafka.records import OutgoingRecord, RecordMetadata, Then
from schemas import codec
from schemas.headers import FIRST_DELIVERY, Delivery
from schemas.retry import Retry, RetryPolicy
from schemas.schedule import ScheduleDone
from schemas.status import ErrorInfo, State, Status
from schemas.task import Lane, Priority, Task
from schemas.topics import Topics, partition_of
from streams.counts import Counts
from streams.outcomes import Outcomes
from streams.publisher import Publisher
from streams.work import Partition, Source, Work

LANE = Lane("t", Priority.NORMAL)
FIRED_AT = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


class Sink:
    """Takes records, and answers when told to."""

    def __init__(self) -> None:
        self.records: list[OutgoingRecord] = []
        self.waiting: list[Then] = []

    def append(self, records: Sequence[OutgoingRecord], then: Then, *, urgent: bool = False) -> None:
        self.records += records
        self.waiting.append(then)

    def send(self, records: Sequence[OutgoingRecord]) -> "asyncio.Future[list[RecordMetadata]]":
        raise NotImplementedError

    async def close(self, *, within: float = 10.0) -> None: ...

    def answer(self) -> None:
        """The broker has everything."""
        waiting, self.waiting = self.waiting, []
        for then in waiting:
            then(None, 7)


class TypeOfTask:
    retry = RetryPolicy()


def work(*, ordering_key: str | None = None, schedule: str | None = None) -> Work:
    record = ConsumerRecord("laneway.tasks.t.normal", 0, 5, 0, 0, b"a", b"{}", None, 1, 2, ())
    run_at = FIRED_AT if schedule else None
    task = Task(
        id="a", type="t", payload=msgspec.Raw(b"{}"), ordering_key=ordering_key, schedule=schedule, run_at=run_at
    )
    return Work(Source(Partition(LANE, 0), cast("Any", record)), task, cast("Any", TypeOfTask()), FIRST_DELIVERY)


class Bench:
    def __init__(self) -> None:
        self.sink = Sink()
        self.outcomes = Outcomes(self.sink, Publisher(Topics(), 4, "w"), lambda _: True, Counts([LANE]))
        self.over: list[tuple[Work, bool]] = []
        self.lost = False
        self.outcomes.over = lambda work, _, durable: self.over.append((work, durable))
        self.outcomes.certainly_lost = lambda _: self.lost


@pytest.fixture
async def bench() -> Bench:
    return Bench()


async def test_what_ends_under_a_lost_lease_waits_and_counts_when_it_comes_back(bench: Bench) -> None:
    ended = work()
    ended.fenced = True
    bench.outcomes.finished(ended, State.SUCCEEDED)
    bench.outcomes.publish_held_back()
    assert not bench.sink.records
    assert bench.outcomes.unfinished
    ended.fenced = False
    bench.outcomes.publish_held_back()
    bench.sink.answer()  # status and event
    bench.sink.answer()  # the outcome
    assert bench.over == [(ended, True)]
    assert bench.outcomes.knows(ended.key)


async def test_what_others_have_is_dropped(bench: Bench) -> None:
    ended = work()
    ended.fenced = True
    bench.outcomes.finished(ended, State.SUCCEEDED)
    bench.lost = True
    bench.outcomes.publish_held_back()
    assert bench.over == [(ended, False)]
    assert not bench.sink.records
    assert not bench.outcomes.unfinished


async def test_what_follows_waits_too_when_the_lease_is_lost_in_between(bench: Bench) -> None:
    ended = work()
    bench.outcomes.finished(ended, State.SUCCEEDED)
    ended.fenced = True
    bench.sink.answer()
    assert len(bench.sink.records) == 2
    ended.fenced = False
    bench.outcomes.publish_held_back()
    bench.sink.answer()
    assert [record.topic for record in bench.sink.records] == ["laneway.status", "laneway.events", "laneway.results.t"]
    assert bench.over == [(ended, True)]


def shadow() -> Work:
    ended = work()
    ended.delivery = Delivery(shadow_of="real")
    return ended


async def test_of_a_shadow_its_outcome_is_told_and_nothing_else(bench: Bench) -> None:
    ended = shadow()
    await bench.outcomes.claim([ended])
    bench.outcomes.shadowed(ended, State.DEAD_LETTERED, error=ErrorInfo(type="E", message="no", retriable=True))
    assert bench.outcomes.unfinished
    assert bench.over == []
    bench.sink.answer()
    assert [(record.topic, record.key) for record in bench.sink.records] == [("laneway.shadows", b"real")]
    assert bench.over == [(ended, True)]
    assert not bench.outcomes.unfinished


async def test_a_shadow_that_others_have_is_dropped(bench: Bench) -> None:
    ended = shadow()
    ended.fenced = bench.lost = True
    bench.outcomes.shadowed(ended, State.SUCCEEDED)
    bench.outcomes.publish_held_back()
    assert bench.over == [(ended, False)]
    assert not bench.sink.records
    assert not bench.outcomes.unfinished


async def test_a_run_that_was_followed_in_place_is_known(bench: Bench) -> None:
    failed = work(ordering_key="k")
    error = ErrorInfo(type="ValueError", message="no", retriable=True)
    bench.outcomes.retrying(
        failed, Retry(delay=timedelta(seconds=1), error=error, spends_attempt=True), datetime.now(UTC)
    )
    assert bench.outcomes.went_on(failed.key) is None
    bench.sink.answer()
    following = bench.outcomes.went_on(failed.key)
    assert following is not None
    assert following.attempt == 2
    assert not bench.outcomes.knows(failed.key)


@pytest.mark.parametrize("state", [State.SUCCEEDED, State.EXPIRED, State.CANCELLED, State.DEAD_LETTERED])
def test_whatever_ends_a_task_of_a_schedule_tells_the_schedule(state: State) -> None:
    publisher, ended = Publisher(Topics(), 4, "w"), work(schedule="tick")
    error = ErrorInfo("E", "no", False)
    if state is State.DEAD_LETTERED:
        records = publisher.dead_lettered(ended, "rejected", error)
    else:
        records = publisher.finished(ended, state)
    status = codec.decode(records[0].value, Status)
    for told in (records, publisher.repaired(ended, status)):
        done = [record for record in told if record.topic == "laneway.schedules"]
        assert [(record.key, record.partition) for record in done] == [(b"tick/done", partition_of("tick", 4))]
        assert codec.decode(done[0].value, ScheduleDone) == ScheduleDone(
            task_id="a", fired_at=FIRED_AT, state=state, at=status.finished_at or status.updated_at
        )


def test_only_the_end_of_a_task_of_a_schedule_tells_one() -> None:
    publisher, retry = Publisher(Topics(), 4, "w"), Retry(timedelta(0), True, ErrorInfo("E", "no", True))
    told = [
        *publisher.finished(work(), State.SUCCEEDED),
        *publisher.running(work(schedule="tick")),
        *publisher.retrying(work(schedule="tick"), retry, FIRED_AT)[1],
    ]
    assert "laneway.schedules" not in {record.topic for record in told}
