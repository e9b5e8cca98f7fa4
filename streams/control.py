"""What operators asked for, in a worker: lanes that are held, tasks that are called off or put off, and the answers."""

import asyncio
from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import Final, Protocol

import msgspec
import structlog

from laneway.kafka.records import OutgoingRecord, RecordSink, TableRecord
from schemas import codec
from schemas.control import Cancellation, Cancelled, LaneControl
from schemas.due_change import DUE_KEY, WITHDRAWN_KEY, DueChange, Withdrawal
from schemas.errors import LanewayError, UndecodableRecordError
from schemas.headers import Headers, cloud_event, timestamp
from schemas.settings import Settings
from schemas.task import Lane
from schemas.topics import Topics, partition_of
from streams.cancelling import CalledOff, Cancellations
from streams.clock import Clock, utc_now
from streams.dispatcher import Dispatcher
from streams.due_changes import DueChanges
from streams.runs import Runs

log = structlog.get_logger(__name__)

CURRENT_WITHIN: Final = timedelta(seconds=10)


class Follower(Protocol):
    """Reads tables; see ``TableFollower`` for what holds."""

    def start(self) -> None:
        """Begin to read."""

    async def current(self, within: timedelta, numbers: Mapping[str, Collection[int]] | None = None) -> None:
        """Wait until every record that was there at the call has been taken."""

    async def close(self) -> None:
        """Stop reading."""

    @property
    def alive(self) -> bool:
        """Whether it still reads."""


class Control:
    """Follows ``control`` and ``cancellations`` and has the worker do as they say. Belongs to the worker's loop.

    Delivery: a cancellation is answered by the worker that has the task's partition, or that runs it; from its answer
        on no run of the task starts, there or anywhere: whoever takes the partition over reads all that was asked
        before it opens it.
    """

    def __init__(self, settings: Settings, producer: RecordSink, worker: str, clock: Clock = utc_now) -> None:
        self._topics = Topics(settings.kafka.topic_prefix)
        self._partitions = settings.kafka.partitions
        self._producer = producer
        self._worker = worker
        self._clock = clock
        self._source = f"/laneway/worker/{worker}".encode()
        self._dispatcher: Dispatcher
        self._runs: Runs
        self.cancellations = Cancellations(self._carried_out)
        later = asyncio.get_running_loop().call_later
        self.due_changes = DueChanges(self._topics, producer, worker, self.cancellations.holds, later, clock)
        self.follower: Follower
        """Hands the records of ``topics`` to ``take``."""

    @property
    def topics(self) -> list[str]:
        """Where operators' requests lie."""
        return [self._topics.control, self._topics.cancellations]

    def start(self, dispatcher: Dispatcher, runs: Runs) -> None:
        """Begin."""
        self._dispatcher = dispatcher
        self._runs = runs
        self.follower.start()

    async def close(self) -> None:
        """Stop."""
        await self.follower.close()

    async def current(self, numbers: Collection[int] | None = None) -> None:
        """Wait until everything that was asked before the call is known.

        Args:
            numbers: cancellations of these partitions; all by default.

        Raises:
            BrokerUnavailableError: not in time.
        """
        only = None if numbers is None else {self._topics.cancellations: numbers}
        await self.follower.current(CURRENT_WITHIN, only)

    def tick(self) -> None:
        """Answer cancellations and changes of due times; many times a second."""
        dispatcher = self._dispatcher
        for called_off, outcome in self.cancellations.carry_out(
            lambda: dispatcher.in_flight, self._runs, dispatcher.speaks_for, self.due_changes.busy
        ):
            self._answer(called_off, outcome)
        self.due_changes.tick()

    def hold(self, lane: Lane, reason: str) -> None:
        """Have every worker hold a lane; this one does at once."""
        self._runs.hold(lane, held=True)
        asked = LaneControl(
            type=lane.type, priority=lane.priority, paused=True, at=self._clock(), by=self._worker, reason=reason
        )
        number = partition_of(asked.key, self._partitions)
        record = self._record("control", self._topics.control, number, asked.key, codec.encode(asked))

        def told(error: LanewayError | None, _: int) -> None:
            if error is not None:
                log.error("lane held here alone: the log did not take it", lane=str(lane), said=str(error))

        self._producer.append([record], told)

    def take(self, record: TableRecord) -> None:
        """Do as a record says."""
        try:
            if record.topic == self._topics.control:
                if record.value is not None:
                    asked = codec.decode(record.value, LaneControl)
                    if self._runs.hold(asked.lane, held=asked.paused):
                        log.warning(
                            "lane held" if asked.paused else "lane flows again",
                            lane=str(asked.lane),
                            by=asked.by,
                            reason=asked.reason,
                        )
            else:
                self._take_of_task((record.key or b"").decode(errors="replace"), record.value, record.partition)
        except UndecodableRecordError as error:
            log.warning("unreadable request of an operator skipped", topic=record.topic, said=str(error))

    def _take_of_task(self, key: str, value: bytes | None, number: int) -> None:
        if key.startswith(DUE_KEY):
            change = codec.decode(value, DueChange) if value is not None else None
            self.due_changes.learn_change(key.removeprefix(DUE_KEY), change, number)
        elif key.startswith(WITHDRAWN_KEY):
            withdrawal = codec.decode(value, Withdrawal) if value is not None else None
            self.due_changes.learn_withdrawal(key.removeprefix(WITHDRAWN_KEY), withdrawal)
        elif value is None:
            self.cancellations.learn(key, None)
        else:
            cancellation = codec.decode(value, Cancellation)
            self.cancellations.learn(cancellation.id, CalledOff(cancellation, number))

    def _answer(self, called_off: CalledOff, outcome: Cancelled | None) -> None:
        self.cancellations.answered(called_off)
        self._send(called_off, [self._answer_record(called_off, outcome)])

    def _carried_out(self, called_off: CalledOff, outcome: Cancelled | None) -> None:
        """Its task is over: answer whoever may still wait, and take the cancellation out of the log."""
        records = [] if called_off.asked.answered else [self._answer_record(called_off, outcome)]
        topic, asked = self._topics.cancellations, called_off.asked
        records.append(self._record("cancellation", topic, called_off.number, asked.id, None))
        self._send(called_off, records)

    def _send(self, called_off: CalledOff, records: list[OutgoingRecord]) -> None:
        def told(error: LanewayError | None, _: int) -> None:
            if error is not None:
                self.cancellations.answered(called_off, certain=False)

        self._producer.append(records, told, urgent=True)

    def _answer_record(self, called_off: CalledOff, outcome: Cancelled | None) -> OutgoingRecord:
        asked = msgspec.structs.replace(called_off.asked, answered=True, outcome=outcome, worker=self._worker)
        topic = self._topics.cancellations
        return self._record("cancellation", topic, called_off.number, asked.id, codec.encode(asked))

    def _record(self, kind: str, topic: str, number: int, key: str, value: bytes | None) -> OutgoingRecord:
        now = self._clock()
        headers: Headers = cloud_event(kind, f"{key}.{now.timestamp()}", self._source, timestamp(now))
        return OutgoingRecord(topic, number, key.encode(), value, headers)
