"""What keeps a task that crashes processes from taking others with it."""

import asyncio
import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from msgspec import Raw

from laneway.context import Context
from laneway.kafka.records import RecordSink
from laneway.registry import TaskType
from schemas.settings import Settings
from schemas.suspect import Suspect
from streams.flight import FlightRecorder, Phase, flight_path
from streams.isolation import Isolation, Pool
from streams.suspect_log import SuspectLog
from streams.suspects import Suspects, suspects_file
from streams.work import Work


class CrashGuard:
    """Notes what runs, knows who was there at a crash, and runs those alone. All methods belong to the worker's loop.

    Args:
        settings: of the worker; without a name it has no supervisor, and nothing is noted.
        pool: where suspects run; nothing else may run there.
        producer: of the process.
        worker: its name.
    """

    def __init__(self, settings: Settings, pool: Pool, producer: RecordSink, worker: str) -> None:
        path = flight_path(settings)
        self.recorder = FlightRecorder(path) if path is not None else None
        self.finished = 0
        """Runs that ended so far."""
        self._file = suspects_file(settings)
        self._suspects = Suspects(settings.worker.max_crashes)
        self._log = SuspectLog(settings, producer, worker)
        self._isolation = Isolation(settings, pool, self._suspects, self._log.tell)
        self._worker = worker
        self._untold: set[asyncio.Task[None]] = set()

    async def take_over(self) -> None:
        """Learn of those whom this process's forerunner left, and let every worker know; before any lane is joined."""
        await self._log.take_over(self._file, self._suspects)

    def learn(self, suspects: Iterable[Suspect]) -> None:
        """Learn of those that ``SuspectReader`` found; before any record of their partitions starts."""
        self._suspects.add(suspects)

    def begin(self, work: Work) -> int:
        """A run begins; answers what ``end`` takes."""
        if self.recorder is None:
            return -1
        task, delivery = work.task, work.delivery
        suspect = self._suspects.find(task.id, task.generation)
        return self.recorder.begin(
            task.id,
            task.generation,
            delivery.attempt,
            delivery.deferrals,
            task.type,
            work.source.record.partition,
            time.time(),
            suspect.crashes if suspect is not None else 0,
            alone=work.task_type.executor == "process",
        )

    def end(self, slot: int) -> None:
        """The run ended, whatever came of it."""
        self.finished += 1
        if self.recorder is not None:
            self.recorder.end(slot)

    def suspect(self, task_id: str, generation: int) -> Suspect | None:
        """The suspect that this task is, if its next run has to be alone: then ``run_alone`` takes it."""
        found = self._suspects.find(task_id, generation)
        return found if found is not None and self._suspects.must_run_alone(found) else None

    def doubt(self, work: Work, how: str) -> None:
        """Its run came to grief in a process that it shared, maybe by another's doing: the next one is alone."""
        task = work.task
        known = self._suspects.find(task.id, task.generation)
        suspect = Suspect(
            id=task.id,
            generation=task.generation,
            type=task.type,
            partition=work.source.record.partition,
            crashes=1 if known is None else known.crashes + 1,
            how=how,
            at=datetime.now(UTC),
            worker=self._worker,
        )
        self._suspects.add([suspect])

    async def run_alone(
        self, suspect: Suspect, task_type: TaskType, payload: bytes, context: Context, timeout: timedelta | None
    ) -> Raw:
        """Run a suspect's attempt where it can harm nobody; see ``Isolation.run``. It needs no ``begin``."""
        slot = -1
        if self.recorder is not None:
            slot = self.recorder.begin(
                suspect.id,
                suspect.generation,
                context.attempt,
                0,
                suspect.type,
                suspect.partition,
                time.time(),
                suspect.crashes,
                alone=True,
            )
        try:
            return await self._isolation.run(suspect, task_type, payload, context, timeout)
        finally:
            self.end(slot)

    def ended(self, task_id: str, generation: int) -> None:
        """The task has its final state, durably: it is nobody's suspect any more."""
        suspect = self._suspects.ended(task_id, generation)
        if suspect is not None:
            telling = asyncio.get_running_loop().create_task(self._log.tell([suspect], ended=True))
            self._untold.add(telling)
            telling.add_done_callback(self._untold.discard)

    def enter(self, phase: Phase) -> None:
        """Let the supervisor know that this phase of life begins."""
        if self.recorder is not None:
            self.recorder.enter(phase)
