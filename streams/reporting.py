"""What a worker tells of itself, every few seconds."""

import asyncio
import os
import socket
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final

import structlog

from laneway import __version__
from laneway.kafka.records import OutgoingRecord, RecordSink
from schemas import codec
from schemas.errors import LanewayError
from schemas.headers import cloud_event, timestamp
from schemas.settings import Settings
from schemas.task import Lane
from schemas.topics import Topics, partition_of
from schemas.worker import MOST_RUNNING, REPORT_EVERY, LaneShare, RunningTask, TypeSlots, WorkerReport
from streams.clock import Clock, utc_now
from streams.runs import Runs

log = structlog.get_logger(__name__)

_FAREWELL_WITHIN: Final = 3.0


class Reports:
    """Appends a worker's reports to ``workers``. Belongs to the worker's loop.

    Delivery: a report that does not get through is followed by the next; nothing waits for one.

    Args:
        settings: of the worker.
        producer: of the process.
        worker: its name.
        shares: the partitions of each lane that it has now.
        runs: what it runs.
        ended: how many runs have ended.
        clock: the time.
    """

    def __init__(
        self,
        settings: Settings,
        producer: RecordSink,
        worker: str,
        shares: Callable[[], Mapping[Lane, list[int]]],
        runs: Runs,
        ended: Callable[[], int],
        clock: Clock = utc_now,
    ) -> None:
        self._topic = Topics(settings.kafka.topic_prefix).workers
        self._number = partition_of(worker, settings.kafka.partitions)
        self._slots = settings.worker.concurrency
        self._producer = producer
        self._worker = worker
        self._source = f"/laneway/worker/{worker}".encode()
        self._shares = shares
        self._runs = runs
        self._ended = ended
        self._clock = clock
        self._started_at = clock()
        self._ended_before = 0
        self._last_end_at: datetime | None = None

    async def run(self) -> None:
        """Report until cancelled."""
        while True:
            self._producer.append([self._record(codec.encode(self.report()))], self._told)
            await asyncio.sleep(REPORT_EVERY.total_seconds())

    async def farewell(self) -> None:
        """Take the worker out of the list: it has stopped in order."""
        try:
            await asyncio.wait_for(self._producer.send([self._record(None)]), _FAREWELL_WITHIN)
        except (LanewayError, TimeoutError) as error:
            log.info("not taken off the list of workers; it will be missed there", said=str(error) or repr(error))

    def report(self) -> WorkerReport:
        """How it stands now."""
        now, ended = self._clock(), self._ended()
        if ended != self._ended_before:
            self._ended_before, self._last_end_at = ended, now
        running = [
            RunningTask(
                id=work.task.id,
                type=work.task.type,
                priority=work.task.priority,
                attempt=work.delivery.attempt,
                since=work.started_at,
            )
            for work in self._runs.running
            if work.started_at is not None
        ]
        busy = Counter(task.type for task in running)
        shares = self._shares()
        return WorkerReport(
            worker=self._worker,
            host=socket.gethostname(),
            pid=os.getpid(),
            version=__version__,
            started_at=self._started_at,
            at=now,
            lanes=[
                LaneShare(type=lane.type, priority=lane.priority, partitions=sorted(numbers))
                for lane, numbers in shares.items()
            ],
            slots=[
                TypeSlots(type=name, total=self._slots, busy=busy[name])
                for name in dict.fromkeys(lane.type for lane in shares)
            ],
            running=sorted(running, key=lambda task: task.since)[:MOST_RUNNING],
            running_total=len(running),
            waiting=self._runs.waiting,
            ended=ended,
            last_end_at=self._last_end_at,
        )

    def _record(self, value: bytes | None) -> OutgoingRecord:
        now = self._clock()
        headers = cloud_event("worker", f"{self._worker}.{now.timestamp()}", self._source, timestamp(now))
        return OutgoingRecord(self._topic, self._number, self._worker.encode(), value, headers)

    @staticmethod
    def _told(error: LanewayError | None, _: int) -> None:
        if error is not None:
            log.info("a report of this worker was not taken", said=str(error))
