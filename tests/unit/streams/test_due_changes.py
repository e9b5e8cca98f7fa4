"""However a change of a due time is cut off, one run of the task is asked for that may start, and never two."""

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from msgspec import Raw

from laneway.kafka.records import OutgoingRecord, Then
from schemas import codec
from schemas.due_change import CHANGED_MEANWHILE, DUE_KEY, WITHDRAWN_KEY, DueChange, Withdrawal
from schemas.errors import BrokerUnavailableError
from schemas.headers import read_delivery
from schemas.status import State, Status
from schemas.task import Lane, Priority, Task
from schemas.topics import Topics
from streams.due_changes import DueChanges

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
TOPICS = Topics()
TASK = Task(id="a", type="t", payload=Raw(b'{"kept": 1.0}'), run_at=NOW + timedelta(hours=1))
LANE = Lane("t", Priority.NORMAL)
Run = tuple[int, int, int]


def change(name: str = "first", *, deferrals: int = 1, was_due: timedelta = timedelta(hours=1)) -> DueChange:
    """Asks for a task to be due in ten minutes."""
    status = Status(
        id="a",
        type="t",
        priority=Priority.NORMAL,
        state=State.SCHEDULED,
        max_attempts=3,
        created_at=NOW,
        updated_at=NOW,
        not_before=NOW + timedelta(minutes=10),
        deferrals=deferrals,
    )
    return DueChange(name=name, status=status, was_due=NOW + was_due, task=Raw(codec.encode(TASK)))


class Log:
    """What outlives processes: requests and withdrawals by key, and the runs that records ask for."""

    def __init__(self) -> None:
        self.table: dict[str, bytes | None] = {}
        self.answers: list[DueChange] = []
        self.runs: set[Run] = {(1, 1, 0)}
        self.told: list[Status] = []
        self.room = 10**6
        """Appends that it still takes."""

    def append(self, records: Sequence[OutgoingRecord], then: Then, *, urgent: bool = False) -> None:
        if self.room <= 0:
            return  # whoever asked is dead
        self.room -= 1
        for record in records:
            self._keep(record)
        then(None, 0)

    def _keep(self, record: OutgoingRecord) -> None:
        key = record.key.decode() if record.key else ""
        if record.topic == TOPICS.cancellations:
            self.table[key] = record.value
            if key.startswith(DUE_KEY) and record.value is not None:
                self.answers.append(codec.decode(record.value, DueChange))
        elif record.topic == TOPICS.status:
            self.told.append(codec.decode(record.value, Status))
        elif record.topic.startswith((f"{TOPICS.prefix}retry.", TOPICS.task_topics)):
            assert record.value == codec.encode(TASK)
            delivery = read_delivery(record.headers)
            assert delivery.repeated
            self.runs.add((1, delivery.attempt, delivery.deferrals))


class Worker:
    """A process that has the partition; it knows what the log says at its start."""

    def __init__(self, log: Any, *, called_off: bool = False, in_flight: Iterable[Any] = ()) -> None:
        self.in_flight = in_flight
        self.passed_over: list[Run] = []
        self.taken_up: list[Any] = []
        self.open = True
        self.later: list[Callable[[], None]] = []
        self.changes = DueChanges(
            TOPICS, log, "w", lambda *_: called_off, lambda _, then: self.later.append(then), lambda: NOW
        )
        self.changes.owner = self
        for key, value in getattr(log, "table", {}).items():
            if key.startswith(DUE_KEY):
                self.changes.learn_change("a", codec.decode(value, DueChange) if value else None, 0)
            elif key.startswith(WITHDRAWN_KEY):
                self.changes.learn_withdrawal("a", codec.decode(value, Withdrawal) if value else None)

    def has_open(self, *_: object) -> bool:
        return self.open

    def pass_over(self, work: Any) -> None:
        self.passed_over.append(work.key[1:])

    def take_up(self, work: Any) -> None:
        self.taken_up.append(work)

    def starts(self, run: Run) -> bool:
        """Whether a record that asks for a run would be started, now or as soon as it is taken up."""
        work: Any = Work(run)
        return not self.changes.stop(work) or (work in self.taken_up and not self.changes.stop(work))


class Work:
    """As much of one as counts here."""

    def __init__(self, run: Run) -> None:
        self.task = TASK
        self.key = ("a", *run)


@pytest.mark.parametrize("cut_off_after", range(5))
def test_a_worker_dies_between_any_two_appends(cut_off_after: int) -> None:
    log = Log()
    log.table[DUE_KEY + "a"] = codec.encode(change())
    log.room = cut_off_after
    Worker(log).changes.tick()
    log.room = 10**6
    successor = Worker(log)
    successor.changes.tick()
    assert [(answer.refused, answer.task) for answer in log.answers] == [(None, Raw(b"null"))]
    assert log.table[DUE_KEY + "a"] is None
    assert log.runs == {(1, 1, 0), (1, 1, 1)}
    assert [run for run in log.runs if Worker(log).starts(run)] == [(1, 1, 1)]
    assert {(status.deferrals, status.not_before) for status in log.told} == {(1, NOW + timedelta(minutes=10))}


def test_the_former_record_that_comes_up_meanwhile_waits_and_starts_nothing() -> None:
    log = Log()
    log.table[DUE_KEY + "a"] = codec.encode(change())
    worker = Worker(log)
    former, next_one, later = Work((1, 1, 0)), Work((1, 1, 1)), Work((1, 2, 1))
    assert [worker.changes.stop(each) for each in (former, next_one, later)] == [True, True, False]  # type: ignore[arg-type]
    assert worker.passed_over == []
    worker.changes.tick()
    assert worker.taken_up == [former, next_one]
    assert [worker.changes.stop(each) for each in (former, next_one)] == [True, False]  # type: ignore[arg-type]
    assert worker.passed_over == [(1, 1, 0)]


@pytest.mark.parametrize(
    ("asked", "options"),
    [
        (change(was_due=timedelta(seconds=1)), {}),
        (change(was_due=timedelta(hours=-1)), {}),
        (change(), {"called_off": True}),
        (change(), {"in_flight": [Work((1, 1, 0))]}),
    ],
    ids=["due in a moment", "was due", "cancelled", "here already"],
)
def test_what_is_refused_leaves_the_record_in_force(asked: DueChange, options: dict[str, Any]) -> None:
    log = Log()
    log.table[DUE_KEY + "a"] = codec.encode(asked)
    Worker(log, **options).changes.tick()
    assert [answer.refused is None for answer in log.answers] == [False]
    assert log.runs == {(1, 1, 0)}
    assert Worker(log).starts((1, 1, 0))


def test_of_two_changes_of_one_status_the_second_is_told_to_look_again() -> None:
    log = Log()
    worker = Worker(log)
    for name in ("first", "second"):
        worker.changes.learn_change("a", change(name), 0)
        worker.changes.tick()
    assert [(answer.name, answer.refused) for answer in log.answers] == [("first", None), ("second", CHANGED_MEANWHILE)]
    worker.changes.learn_change("a", change("third", deferrals=2), 0)
    worker.changes.tick()
    assert [run for run in sorted(log.runs) if Worker(log).starts(run)] == [(1, 1, 2)]


def test_what_the_broker_does_not_take_is_tried_again_and_given_up_with_the_partition() -> None:
    class Refusing(Log):
        def append(self, records: Sequence[OutgoingRecord], then: Then, *, urgent: bool = False) -> None:
            then(BrokerUnavailableError("away"), -1)

    log = Log()
    worker = Worker(Refusing())
    worker.changes.learn_change("a", change(), 0)
    worker.changes.tick()
    assert worker.changes.busy("a")
    assert len(worker.later) == 1
    held = Work((1, 1, 0))
    assert worker.changes.stop(held)  # type: ignore[arg-type]
    worker.open = False
    worker.later.pop()()
    assert not worker.changes.busy("a")
    assert worker.taken_up == [held]
    assert log.answers == []
