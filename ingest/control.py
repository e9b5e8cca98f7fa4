"""What operators ask for: tasks that are called off, lanes that are held."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple, TypeVar

import structlog

from ingest.admission import SOURCE
from ingest.calling_off import called_off, cancellation_of, what_it_was
from ingest.lookup import Lookup
from ingest.pace import Pace
from ingest.view.reader import ViewReader
from laneway.callbacks import callback_records
from laneway.kafka.lags import LaneLags
from laneway.kafka.log import Log
from laneway.kafka.records import TableRecord
from laneway.kafka.table import TableFollower
from laneway.kafka.wire import EncodedRecord, encoded_record
from schemas import codec
from schemas.control import OPERATOR, Cancellation, Cancelled, LaneControl
from schemas.due_change import DueChange
from schemas.errors import BrokerUnavailableError, TaskNotFoundError, UnavailableError, UndecodableRecordError
from schemas.headers import cloud_event, timestamp
from schemas.outcome import Outcome
from schemas.settings import Settings
from schemas.status import State, Status
from schemas.task import Lane
from schemas.topics import Topics, partition_of

log = structlog.get_logger(__name__)

Asked = TypeVar("Asked", Cancellation, DueChange)

_ANSWERED_WITHIN: Final = 5.0
"""Seconds that a worker has to answer a request; one that has not stays asked."""
_TOLD_WITHIN: Final = timedelta(seconds=5)


class Answer(NamedTuple):
    """What a cancellation is answered with."""

    outcome: Cancelled
    state: State


class LaneState(NamedTuple):
    """A lane as the API tells it."""

    lane: Lane
    lag: int | None
    """Records that are not committed yet; ``None`` when the broker does not tell."""
    control: LaneControl | None
    """What was asked of it last."""
    rate: float | None = None
    """Records a second that workers got done with in the last minute; ``None`` where nobody asked before."""


class ControlDesk:
    """Takes down what operators ask for, in the log, where every worker reads it.

    Raises:
        AdmissionError: (every method) it cannot be, or the log cannot take it.
    """

    def __init__(self, settings: Settings, log_: Log, view: ViewReader, lookup: Lookup) -> None:
        self._topics = Topics(settings.kafka.topic_prefix)
        self._partitions = settings.kafka.partitions
        self._log = log_
        self._view = view
        self._lookup = lookup
        self._lags = LaneLags(settings)
        self._pace = Pace()
        self._lanes: dict[Lane, LaneControl] = {}
        self._waiting: dict[str, list[Callable[[bytes], None]]] = {}
        """By key: who waits for an answer there."""
        self._follower = TableFollower(
            settings, [self._topics.control, self._topics.cancellations], self._take, "laneway-api-control"
        )

    def start(self) -> None:
        """Begin to follow the log."""
        self._follower.start()

    async def close(self) -> None:
        """Stop following it."""
        await self._follower.close()

    async def cancel(self, task_id: str) -> Answer:
        """Call a task off.

        Delivery: with ``before_start`` its handler does not start any more, whatever happens; with ``requested`` once
            any worker has its partition.
        """
        status = codec.decode(await self._lookup.find(task_id), Status)
        if status.state.final:
            return Answer(what_it_was(status), status.state)
        asked = cancellation_of(status, datetime.now(UTC))
        number = partition_of(status.ordering_key or task_id, self._partitions)
        answered = await self.ask(
            "cancellation", number, task_id, codec.encode(asked), Cancellation, lambda found: found.answered
        )
        if answered is None:
            return Answer(Cancelled.REQUESTED, status.state)
        if answered.outcome is Cancelled.WHILE_RUNNING:
            return Answer(Cancelled.WHILE_RUNNING, State.RUNNING)
        status = await self.strongly(task_id)
        if status.generation != asked.generation:
            # It had ended before anybody answered, and was replayed meanwhile: the replay was not called off.
            return Answer(Cancelled.TOO_LATE, status.state)
        if status.state.final:
            # Only an end that a worker tells says that the record has come up: the API itself ends one that may yet.
            if answered.outcome is None and status.worker is not None:
                await self._log.send([self._cancellation(number, task_id, None)])
            return Answer(what_it_was(status), status.state)
        if status.state is State.RUNNING:
            # On a worker that is not the partition's any more, or that died: it is not started anew.
            return Answer(Cancelled.WHILE_RUNNING, status.state)
        await self._end(status, number, asked.at)
        return Answer(Cancelled.BEFORE_START, State.CANCELLED)

    async def hold(self, lane: Lane, *, paused: bool, reason: str | None, by: str = OPERATOR) -> LaneControl:
        """Hold a lane on every worker, or let it flow again; answers once the log has it and this API knows it."""
        asked = LaneControl(
            type=lane.type, priority=lane.priority, paused=paused, at=datetime.now(UTC), by=by, reason=reason
        )
        number = partition_of(asked.key, self._partitions)
        record = self._record("control", self._topics.control, number, asked.key, codec.encode(asked))
        appended = await self._log.send([record], urgent=True)
        await self._follower.reach(
            self._topics.control, number, appended.last[self._topics.control, number], _TOLD_WITHIN
        )
        return asked

    async def asked_of(self, lane: Lane) -> LaneControl | None:
        """What was asked of a lane last."""
        try:
            await self._follower.current(_TOLD_WITHIN)
        except BrokerUnavailableError as error:
            raise UnavailableError(str(error)) from error
        return self._lanes.get(lane)

    def asked(self, lane: Lane) -> LaneControl | None:
        """What was asked of a lane last, as far as this API has read."""
        return self._lanes.get(lane)

    async def lanes(self, lanes: list[Lane]) -> list[LaneState]:
        """How lanes stand."""
        try:
            found = await asyncio.to_thread(self._lags.ask, lanes)
            await self._follower.current(_TOLD_WITHIN)
        except BrokerUnavailableError as error:
            raise UnavailableError(str(error)) from error
        now = time.monotonic()
        return [
            LaneState(lane, found[lane].lag, self._lanes.get(lane), self._pace.rate(lane, found[lane].done, now))
            for lane in lanes
        ]

    async def ask(
        self,
        kind: str,
        number: int,
        key: str,
        value: bytes,
        answer: type[Asked],
        meant: Callable[[Asked], bool],
    ) -> Asked | None:
        """Put a request into ``cancellations``, for whoever has its partition.

        Args:
            kind: of the record.
            number: the partition of the task.
            key: of the request, and of its answer.
            value: the request.
            answer: what it is answered with.
            meant: whether a record is the answer.

        Returns:
            The answer; ``None`` when there was none within the bound: the request stays.
        """
        heard: asyncio.Future[Asked] = asyncio.get_running_loop().create_future()

        def hear(data: bytes) -> None:
            found = codec.decode(data, answer)
            if meant(found) and not heard.done():
                heard.set_result(found)

        self._waiting.setdefault(key, []).append(hear)
        try:
            await self._log.send([self._record(kind, self._topics.cancellations, number, key, value)], urgent=True)
            return await asyncio.wait_for(heard, _ANSWERED_WITHIN)
        except TimeoutError:
            log.warning("request of an operator not answered yet", kind=kind, key=key)
            return None
        finally:
            waiting = self._waiting[key]
            waiting.remove(hear)
            if not waiting:
                del self._waiting[key]

    async def strongly(self, task_id: str) -> Status:
        """The status as the log has it now."""
        await self._view.reach(await self._view.ends())
        found = self._view.find(task_id)
        if found is None:
            raise TaskNotFoundError("the task left the status view meanwhile", id=task_id)
        return codec.decode(found, Status)

    async def _end(self, status: Status, number: int, asked_at: datetime) -> None:
        """Publish that a task is cancelled which no worker can start any more."""
        ended, event = called_off(status, datetime.now(UTC))
        step = f"{ended.id}.{ended.generation}.{ended.attempt}.{ended.deferrals}.cancelled"
        records = [
            self._record("status", self._topics.status, number, ended.id, codec.encode(ended), step),
            self._record("event", self._topics.events, number, ended.id, codec.encode(event), step),
        ]
        appended = await self._log.send(records, urgent=True)
        outcome = Outcome.of(ended)
        follows = [
            self._record("outcome", self._topics.results(ended.type), number, ended.id, codec.encode(outcome), step)
        ]
        if ended.callback_url:
            # Another API may be at it, too.
            callback = callback_records(
                self._topics, self._partitions, SOURCE, ended.callback_url, outcome, since=asked_at
            )
            follows += [encoded_record(*record) for record in callback]
        await self._log.send(follows)
        with contextlib.suppress(UnavailableError):  # it is in the log; the view will have it
            await self._view.reach({number: appended.last[self._topics.status, number] + 1})

    def _take(self, record: TableRecord) -> None:
        if record.value is None:
            return
        try:
            if record.topic == self._topics.control:
                asked = codec.decode(record.value, LaneControl)
                self._lanes[asked.lane] = asked
            else:
                for hear in self._waiting.get((record.key or b"").decode(errors="replace"), ()):
                    hear(record.value)
        except UndecodableRecordError as error:
            log.warning("unreadable request of an operator skipped", topic=record.topic, said=str(error))

    def _cancellation(self, number: int, task_id: str, value: bytes | None) -> EncodedRecord:
        return self._record("cancellation", self._topics.cancellations, number, task_id, value)

    @staticmethod
    def _record(
        kind: str, topic: str, number: int, key: str, value: bytes | None, step: str | None = None
    ) -> EncodedRecord:
        now = datetime.now(UTC)
        headers = cloud_event(kind, step or f"{key}.{now.timestamp()}", SOURCE, timestamp(now))
        return encoded_record(topic, number, key.encode(), value, headers)
