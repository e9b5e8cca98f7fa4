"""Changing when a waiting task is due: another record takes the place of the one that waits.

The record that waits lies somewhere on the ladder and cannot be taken out. So its run is withdrawn, durably: whoever
finds the record later starts nothing. Then the task is told to be due at the other time and a second record asks for
the run that follows, as after any deferral.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol

import msgspec
import structlog

from laneway import crashpoints
from laneway.kafka.records import OutgoingRecord, RecordSink
from schemas import codec
from schemas.due_change import CHANGED_MEANWHILE, DUE_KEY, WITHDRAWN_KEY, DueChange, Withdrawal
from schemas.errors import LanewayError
from schemas.headers import KIND_HEADERS, Delivery, Headers, cloud_event, delivery_headers, timestamp
from schemas.outcome import Event
from schemas.status import NULL, State, Status
from schemas.task import Lane, Task
from schemas.topics import TASK_RETENTION, Topics, rung_for
from streams.clock import Clock, utc_now
from streams.work import Work, next_delivery

log = structlog.get_logger(__name__)

NEARLY_DUE: Final = timedelta(seconds=2)
"""A task that is due within this time is left alone: it may be in a worker's memory already, by any worker's clock."""
_AGAIN_AFTER: Final = 0.5
_LOOKS_BETWEEN_PRUNINGS: Final = 10_000

_Run = tuple[int, int, int]
"""(generation, attempt, deferrals)."""


class Owner(Protocol):
    """Knows this worker's partitions; see ``Dispatcher`` for what holds."""

    @property
    def in_flight(self) -> Iterable[Work]:
        """What waits here for its time or a slot, runs, or is on its way to the broker."""

    def has_open(self, lane: Lane, number: int) -> bool:
        """Whether a partition is ours alone, and all that was asked of it before it came is known."""

    def pass_over(self, work: Work) -> None:
        """Nothing comes of a work's record: another one takes its place."""

    def take_up(self, work: Work) -> None:
        """A work that had to wait may go on."""


@dataclass(frozen=True)
class _Asked:
    change: DueChange
    number: int

    @property
    def task_id(self) -> str:
        return self.change.status.id


class DueChanges:
    """The changes that this worker answers, and the runs that are withdrawn. All methods belong to the worker's loop.

    Delivery: a change that was answered without a refusal is durable in full, and the former record starts nothing,
        wherever it comes up. It is answered by whoever has the task's partition; one that dies on the way is followed
        by whoever takes the partition over, who finishes what was begun.

    Args:
        called_off: says of a task and a generation whether they are cancelled.
        later: has something done after so many seconds.
    """

    def __init__(
        self,
        topics: Topics,
        producer: RecordSink,
        worker: str,
        called_off: Callable[[str, int], bool],
        later: Callable[[float, Callable[[], None]], object],
        clock: Clock = utc_now,
    ) -> None:
        self.owner: Owner
        self._topics = topics
        self._producer = producer
        self._worker = worker
        self._source = f"/laneway/worker/{worker}".encode()
        self._called_off = called_off
        self._later = later
        self._clock = clock
        self._unanswered: dict[str, _Asked] = {}
        self._under_way: dict[str, _Asked] = {}
        self._withdrawn: dict[str, tuple[_Run, str, datetime]] = {}
        self._undecided: defaultdict[str, list[Work]] = defaultdict(list)
        """Records that came up before the change was answered."""
        self._looks = 0

    def learn_change(self, task_id: str, change: DueChange | None, number: int) -> None:
        """What the log says of a change; ``None``: nothing any more."""
        if change is None or change.answered:
            former = self._unanswered.pop(task_id, None)
            if former is not None and task_id not in self._under_way:
                self._end(former)
        else:
            self._unanswered[task_id] = _Asked(change, number)

    def learn_withdrawal(self, task_id: str, withdrawal: Withdrawal | None) -> None:
        """What the log says of withdrawn runs; ``None``: nothing any more."""
        if withdrawal is None:
            self._withdrawn.pop(task_id, None)
        elif withdrawal.until > self._clock():
            self._withdrawn[task_id] = withdrawal.run, withdrawal.by, withdrawal.until

    def busy(self, task_id: str) -> bool:
        """Whether a change of the task is under way, so that its status is about to change."""
        return task_id in self._under_way

    def stop(self, work: Work) -> bool:
        """Whether a work that has come up must not start, because another record has taken its place, or is about to.

        What becomes of it the owner is told, at once or later.
        """
        task_id = work.task.id
        pending = self._under_way.get(task_id) or self._unanswered.get(task_id)
        if pending is not None and work.key[1:] <= _run(pending.change):
            # Also the one that takes the place: what is told of the change comes before what is told of its run.
            self._undecided[task_id].append(work)
            return True
        withdrawn = self._withdrawn.get(task_id)
        if withdrawn is None or work.key[1:] >= withdrawn[0]:
            return False
        self.owner.pass_over(work)
        return True

    def tick(self) -> None:
        """Answer what can be answered; many times a second."""
        self._prune()
        if not self._unanswered:
            return
        mine = [
            asked
            for task_id, asked in self._unanswered.items()
            if task_id not in self._under_way and self.owner.has_open(asked.change.lane, asked.number)
        ]
        here = {work.task.id for work in self.owner.in_flight} if mine else set()
        for asked in mine:
            self._consider(asked, here)

    def _consider(self, asked: _Asked, here: set[str]) -> None:
        change, status = asked.change, asked.change.status
        withdrawn = self._withdrawn.get(status.id)
        if withdrawn is not None and withdrawn[1] == change.name:
            # By us, and the broker did not say so; or by whoever had the partition before.
            self._under_way[status.id] = asked
            self._carry_out(asked)
        elif withdrawn is not None and withdrawn[0] >= _run(change):
            self._answer(asked, CHANGED_MEANWHILE)
        elif self._called_off(status.id, status.generation):
            self._answer(asked, "it is cancelled")
        elif change.was_due - self._clock() < NEARLY_DUE or status.id in here:
            self._answer(asked, "it is due, or will be in a moment")
        else:
            self._under_way[status.id] = asked
            self._withdraw(asked)

    def _withdraw(self, asked: _Asked) -> None:
        """Have the former record start nothing; durably, before anything else is done."""
        status, (generation, attempt, deferrals) = asked.change.status, _run(asked.change)
        former = self._withdrawn.get(status.id)
        until = max(asked.change.was_due + TASK_RETENTION, former[2] if former is not None else asked.change.was_due)
        withdrawal = Withdrawal(
            id=status.id,
            type=status.type,
            priority=status.priority,
            generation=generation,
            attempt=attempt,
            deferrals=deferrals,
            by=asked.change.name,
            until=until,
        )
        record = self._record("withdrawal", WITHDRAWN_KEY + status.id, asked.number, codec.encode(withdrawal))

        def told(error: LanewayError | None, _: int) -> None:
            if error is not None:
                self._try_again(asked, error, self._withdraw)
                return
            self.learn_withdrawal(status.id, withdrawal)
            if crashpoints.armed:
                crashpoints.reached("after_withdrawal")
            if self.owner.has_open(asked.change.lane, asked.number):
                self._carry_out(asked)
            else:  # whoever has the partition now finds what is durable, and goes on
                self._end(asked)

        self._producer.append([record], told, urgent=True)

    def _carry_out(self, asked: _Asked) -> None:
        """Tell when it is due now, and put the record into place that asks for its run."""

        def told(error: LanewayError | None, _: int) -> None:
            if error is not None:
                self._try_again(asked, error, self._carry_out)
            else:
                self._answer(asked, None)

        try:
            records = self._records(asked)
        except LanewayError as error:  # the API decodes a task before it asks: somebody else wrote this
            log.error("unreadable change of a due time", task_id=asked.task_id, said=str(error))
            self._answer(asked, "its record is not readable")
            return
        self._producer.append(records, told, urgent=True)

    def _try_again(self, asked: _Asked, error: LanewayError, step: Callable[[_Asked], None]) -> None:
        log.warning("change of a due time not durable yet, tried again", task_id=asked.task_id, said=str(error))

        def again() -> None:
            if self.owner.has_open(asked.change.lane, asked.number):
                step(asked)
            else:
                self._end(asked)

        self._later(_AGAIN_AFTER, again)

    def _end(self, asked: _Asked) -> None:
        """It is not ours any more, or answered."""
        self._under_way.pop(asked.task_id, None)
        for work in self._undecided.pop(asked.task_id, ()):
            self.owner.take_up(work)

    def _answer(self, asked: _Asked, refused: str | None) -> None:
        self._unanswered.pop(asked.task_id, None)
        self._end(asked)
        answer = msgspec.structs.replace(
            asked.change, task=NULL, answered=True, refused=refused, worker=self._worker, traceparent=None
        )
        key = DUE_KEY + asked.task_id
        records = [
            self._record("due_change", key, asked.number, codec.encode(answer)),
            self._record("due_change", key, asked.number, None),
        ]

        def told(error: LanewayError | None, _: int) -> None:
            if error is not None:
                self._unanswered.setdefault(asked.task_id, asked)

        self._producer.append(records, told, urgent=True)

    def _records(self, asked: _Asked) -> list[OutgoingRecord]:
        """The task's status and event, and the record that asks for its run."""
        change, status = asked.change, asked.change.status
        value = bytes(change.task)
        task = codec.decode(value, Task)
        now = self._clock()
        # Whoever finishes what another had begun cannot know whether this record is there already.
        delivery = msgspec.structs.replace(_delivery(status), repeated=True, since=status.updated_at)
        due = status.not_before or now
        rung = rung_for(due - now)
        topic, key = (
            (self._topics.retry(rung), task.id) if rung else (self._topics.lane(change.lane), task.partition_key)
        )
        step = f"{status.id}.{status.generation}.{status.attempt}.{status.deferrals}.{status.state}"
        headers = self._headers("status", step, status.updated_at, change.traceparent)
        id_key = status.id.encode()
        return [
            OutgoingRecord(self._topics.status, asked.number, id_key, codec.encode(status), headers),
            OutgoingRecord(
                self._topics.events,
                asked.number,
                id_key,
                codec.encode(Event.of(status)),
                [KIND_HEADERS["event"], *headers[1:]],
            ),
            OutgoingRecord(
                topic,
                asked.number,
                key.encode(),
                value,
                [KIND_HEADERS["task"], *headers[1:], *delivery_headers(delivery)],
            ),
        ]

    def _record(self, kind: str, key: str, number: int, value: bytes | None) -> OutgoingRecord:
        now = self._clock()
        headers = self._headers(kind, f"{key}.{now.timestamp()}", now, None)
        return OutgoingRecord(self._topics.cancellations, number, key.encode(), value, headers)

    def _headers(self, kind: str, event_id: str, at: datetime, traceparent: str | None) -> Headers:
        trace = traceparent.encode() if traceparent is not None else None
        return cloud_event(kind, event_id, self._source, timestamp(at), trace)

    def _prune(self) -> None:
        """Forget withdrawals whose records are gone by now."""
        self._looks += 1
        if self._looks % _LOOKS_BETWEEN_PRUNINGS == 0:
            now = self._clock()
            self._withdrawn = {task_id: each for task_id, each in self._withdrawn.items() if each[2] > now}


def _delivery(status: Status) -> Delivery:
    """The run that a waiting task's status says will follow."""
    if status.state is State.SCHEDULED:
        return Delivery(max(1, status.attempt), status.deferrals, status.not_before, status.errors)
    return next_delivery(status)


def _run(change: DueChange) -> _Run:
    """The run that a changed task waits for."""
    delivery = _delivery(change.status)
    return change.status.generation, delivery.attempt, delivery.deferrals
