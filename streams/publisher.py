"""The records that tell of an attempt and carry a task on."""

from datetime import datetime

import msgspec
from msgspec import UNSET

from laneway.callbacks import callback_records
from laneway.kafka.records import OutgoingRecord
from schemas import codec
from schemas.headers import KIND_HEADERS, MAX_ERRORS, Headers, cloud_event, delivery_headers, task_event_id, timestamp
from schemas.outcome import Event, Outcome
from schemas.retry import Retry
from schemas.schedule import DONE, ScheduleDone, schedule_key
from schemas.status import NULL, ErrorInfo, State, Status
from schemas.topics import Topics, partition_of, rung_for
from streams.clock import Clock, utc_now
from streams.deadletters import dead_letter_headers
from streams.work import Source, Work, next_delivery

_EVENT = KIND_HEADERS["event"]
_OUTCOME = KIND_HEADERS["outcome"]
TOLD = 2
"""Status and event lead a step; what others act on follows."""


class Publisher:
    """Builds the records of each step: status and event first, then what others act on."""

    def __init__(self, topics: Topics, partitions: int, worker: str, clock: Clock = utc_now) -> None:
        self._topics = topics
        self._partitions = partitions
        self._clock = clock
        self._status_topic = topics.status
        self._events_topic = topics.events
        self._worker = worker
        self._source = f"/laneway/worker/{worker}".encode()

    def running(self, work: Work) -> list[OutgoingRecord]:
        """It runs, or says how far it is."""
        status = self._status(work, State.RUNNING, updated_at=self._clock(), progress=work.progress)
        return self._step(work, msgspec.structs.replace(status, member=work.source.partition.member or UNSET))

    def finished(
        self, work: Work, state: State, *, result: msgspec.Raw | None = None, error: ErrorInfo | None = None
    ) -> list[OutgoingRecord]:
        """The task has ended."""
        now = self._clock()
        error = self._placed(work, error, now)
        status = self._status(work, state, updated_at=now, finished_at=now, error=error, result=result or NULL)
        step = self._step(work, status, error=error)
        step.append(self._outcome(work, status, step[0].headers))
        return step + self._told_outside(work, status, since=work.called_off_at)

    def dead_lettered(
        self, work: Work, reason: str, error: ErrorInfo, *, traceback: str | None = None
    ) -> list[OutgoingRecord]:
        """The task has ended without a result and is set aside with its original bytes."""
        now = self._clock()
        error = self._placed(work, error, now) or error
        status = self._status(work, State.DEAD_LETTERED, updated_at=now, finished_at=now, error=error)
        step = self._step(work, status, error=error, traceback=traceback)
        return [
            *step,
            self._outcome(work, status, step[0].headers),
            self._dead_letter(work, status, reason, error),
            *self._told_outside(work, status),
        ]

    def retrying(
        self, work: Work, retry: Retry, due: datetime, *, traceback: str | None = None
    ) -> tuple[Status, list[OutgoingRecord]]:
        """The task waits for another run; its status, and the records that say so and carry the task there."""
        now = self._clock()
        error = self._placed(work, retry.error, now) or retry.error
        status = self._status(
            work, State.RETRYING, updated_at=now, not_before=due, error=error, failed=retry.spends_attempt
        )
        return status, [
            *self._step(work, status, error=error, traceback=traceback),
            self._next_run(work, status),
        ]

    def repaired(self, work: Work, status: Status) -> list[OutgoingRecord]:
        """What may be missing of a step whose status is durable, for a record that its owner did not live to commit.

        Readers drop what they had already: an outcome by (id, generation), a next run by its key.
        """
        if status.state is State.RETRYING:
            return [self._next_run(work, status, repeated=True)]
        records = [self._outcome(work, status, self._headers("outcome", work, status))]
        if status.state is State.DEAD_LETTERED and status.error is not None:
            records.append(self._dead_letter(work, status, "repaired", status.error))
        return records + self._told_outside(work, status, since=status.updated_at)

    def shadowed(
        self, work: Work, state: State, *, result: msgspec.Raw | None = None, error: ErrorInfo | None = None
    ) -> OutgoingRecord:
        """How a shadow run ended, under the id of the task that it repeats."""
        now = self._clock()
        error = self._placed(work, error, now)
        status = self._status(work, state, updated_at=now, finished_at=now, error=error, result=result or NULL)
        outcome = msgspec.structs.replace(Outcome.of(status), id=work.shadow_of or status.id)
        headers = self._headers("outcome", work, status)
        key = outcome.id.encode()
        return OutgoingRecord(self._topics.shadows, work.source.record.partition, key, codec.encode(outcome), headers)

    def set_aside(self, source: Source, error: ErrorInfo, reason: str) -> list[OutgoingRecord]:
        """A record that is no task: its bytes, and why, to the dead letters of its lane."""
        now = self._clock()
        record = source.record
        headers = dead_letter_headers(
            source.record.headers,
            reason=reason,
            error=error,
            errors=(),
            attempt=None,
            source=source.position,
            worker=self._worker,
            at=now,
        )
        topic = self._topics.dead_letters(source.partition.lane.type)
        return [OutgoingRecord(topic, record.partition, record.key, record.value, headers)]

    def _placed(self, work: Work, error: ErrorInfo | None, at: datetime) -> ErrorInfo | None:
        return msgspec.structs.replace(error, attempt=work.delivery.attempt, at=at) if error else None

    def _status(
        self,
        work: Work,
        state: State,
        *,
        updated_at: datetime,
        finished_at: datetime | None = None,
        not_before: datetime | None = None,
        progress: object = None,
        error: ErrorInfo | None = None,
        result: msgspec.Raw = NULL,
        failed: bool = True,
    ) -> Status:
        task, delivery = work.task, work.delivery
        errors = delivery.errors
        if error is not None and failed:
            errors = (*errors, error)[-MAX_ERRORS:]
        return Status(
            id=task.id,
            type=task.type,
            priority=task.priority,
            state=state,
            attempt=delivery.attempt,
            max_attempts=work.max_attempts,
            created_at=work.created_at,
            updated_at=updated_at,
            started_at=work.started_at,
            finished_at=finished_at,
            not_before=not_before,
            progress=progress,  # type: ignore[arg-type]  # Progress | None
            result=result,
            error=error,
            errors=errors,
            labels=task.labels,
            ordering_key=task.ordering_key,
            generation=task.generation,
            deferrals=delivery.deferrals,
            replay_id=task.replay_id,
            worker=self._worker,
            fingerprint=task.fingerprint,
            callback_url=task.callback_url or UNSET,
        )

    def _step(
        self, work: Work, status: Status, *, error: ErrorInfo | None = None, traceback: str | None = None
    ) -> list[OutgoingRecord]:
        event = Event.of(status, worker=self._worker, position=work.source.position, error=error, traceback=traceback)
        headers = self._headers("status", work, status)
        number, key = work.source.record.partition, work.task.id.encode()
        return [
            OutgoingRecord(self._status_topic, number, key, codec.encode(status), headers),
            OutgoingRecord(self._events_topic, number, key, codec.encode(event), [_EVENT, *headers[1:]]),
        ]

    def _outcome(self, work: Work, status: Status, headers: Headers) -> OutgoingRecord:
        """The record for ``results.<type>``, with the headers of another record of the step."""
        topic = self._topics.results(work.source.partition.lane.type)
        return OutgoingRecord(
            topic,
            work.source.record.partition,
            work.task.id.encode(),
            codec.encode(Outcome.of(status)),
            [_OUTCOME, *headers[1:]],
        )

    def _told_outside(self, work: Work, status: Status, *, since: datetime | None = None) -> list[OutgoingRecord]:
        """What else follows from an end: the task that posts it to its ``callback_url``, and the schedule's word.

        Args:
            work: that ended.
            status: its end.
            since: given where the end may have been told before: from when on.
        """
        url = work.task.callback_url
        if url is None:
            return self._done(work, status)
        outcome = Outcome.of(status)
        callback = callback_records(
            self._topics, self._partitions, self._source, url, outcome, traceparent=work.traceparent, since=since
        )
        return callback + self._done(work, status)

    def _done(self, work: Work, status: Status) -> list[OutgoingRecord]:
        """What tells the schedule that made the task, if one did."""
        task = work.task
        if task.schedule is None or task.run_at is None:
            return []
        done = ScheduleDone(
            task_id=task.id, fired_at=task.run_at, state=status.state, at=status.finished_at or status.updated_at
        )
        number, key = partition_of(task.schedule, self._partitions), schedule_key(task.schedule, DONE)
        headers = self._headers("schedule", work, status)
        return [OutgoingRecord(self._topics.schedules, number, key, codec.encode(done), headers)]

    def _next_run(self, work: Work, status: Status, *, repeated: bool = False) -> OutgoingRecord:
        """The task's own bytes, with headers that ask for the next run, into the ladder or straight into its lane."""
        delivery = msgspec.structs.replace(next_delivery(status), repeated=repeated)
        due = status.not_before or status.updated_at
        rung = rung_for(due - self._clock())
        topic = self._topics.retry(rung) if rung else work.source.record.topic
        record = work.source.record
        headers = self._headers("task", work, status) + delivery_headers(delivery)
        key = work.task.id if rung else work.task.partition_key
        return OutgoingRecord(topic, record.partition, key.encode(), record.value, headers)

    def _dead_letter(self, work: Work, status: Status, reason: str, error: ErrorInfo) -> OutgoingRecord:
        record = work.source.record
        headers = dead_letter_headers(
            work.source.record.headers,
            reason=reason,
            error=error,
            errors=status.errors,
            attempt=status.attempt,
            source=work.source.position,
            worker=self._worker,
            at=status.updated_at,
        )
        topic = self._topics.dead_letters(work.source.partition.lane.type)
        return OutgoingRecord(topic, record.partition, work.task.id.encode(), record.value, headers)

    def _headers(self, kind: str, work: Work, status: Status) -> Headers:
        event_id = task_event_id(work.task, status.attempt, status.deferrals, status.state)
        return cloud_event(kind, event_id, self._source, timestamp(status.updated_at), work.traceparent)
