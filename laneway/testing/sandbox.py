"""What tests hold: a Laneway of their own, without a broker and in virtual time."""

import asyncio
import contextlib
import random
import tempfile
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, Unpack

import msgspec

from ingest.admission import SOURCE, Admission, check_body, decode_submission, fingerprint, keyed_id, moment
from ingest.calling_off import called_off, cancellation_of, what_it_was
from laneway.callbacks import callback_records
from laneway.files import FileStore
from laneway.ids import new_id
from laneway.kafka.records import OutgoingRecord, TableRecord
from laneway.kafka.wire import EncodedRecord, read_body
from laneway.registry import Registry, registry
from laneway.testing.crashes import Crashes, Point
from laneway.testing.letters import DeadLetter, PostedCallback, dead_letter, posted_callback
from laneway.testing.log import MemoryLog, StoredRecord
from laneway.testing.loop import VirtualLoop
from laneway.testing.threads import virtual_sleep
from laneway.testing.worker import SimulatedWorker, World
from schemas import codec
from schemas.control import Cancellation, Cancelled, LaneControl
from schemas.errors import SandboxError, TaskFailedError, TaskNotFoundError
from schemas.headers import read_delivery
from schemas.outcome import Event, Outcome
from schemas.settings import KafkaSettings, Settings
from schemas.status import State, Status
from schemas.submission import SubmitOptions, submission_body
from schemas.suspect import Suspect
from schemas.task import CALLBACK_TYPE, Lane, Priority, Task
from schemas.topics import RUNGS, Topics

_RESTARTED_AFTER: Final = 1.0
"""Virtual seconds from a crash to the next process."""
_LONG: Final = timedelta(days=30)


class Sandbox:
    """Runs handlers as a worker does: the worker's own code on a log in memory and a clock that jumps.

    What is submitted waits until ``run`` or ``advance``, which run handlers and return when nothing more is due. While
    they run, ``asyncio.sleep``, and ``time.sleep`` in a ``def`` handler, take no real time. Every method works in
    tests with and without an event loop of their own; where there is one, handlers run in a thread beside it.

    Use it as a context manager, or call ``close``.

    Args:
        handlers: the task types; by default all that ``@task`` has registered in this process.
        seed: of the jitter of retries; without one it is drawn, and told with whatever fails.
        now: what the clock says at first; by default the present time.
        concurrency: slots for each type; by default as ``settings`` say.
        settings: what handlers see in ``ctx.settings``; by default those of the environment, with a data directory that
            is removed afterwards.
        patience: real seconds that a handler's wait for something outside (a socket, a thread of a library) may last
            before the clock goes on without it.
        stalled_after: real seconds after which a handler's thread that does not return is given up on.
    """

    def __init__(
        self,
        *,
        handlers: Registry = registry,
        seed: int | None = None,
        now: datetime | None = None,
        concurrency: int | None = None,
        settings: Settings | None = None,
        patience: float = 1.0,
        stalled_after: float = 30.0,
    ) -> None:
        self.seed: int = random.randrange(2**32) if seed is None else seed  # noqa: S311  (jitter, not a secret)
        """Of the jitter."""
        self._epoch = datetime.now(UTC) if now is None else now.astimezone(UTC)
        self._held = contextlib.ExitStack()
        if settings is None:
            folder = self._held.enter_context(tempfile.TemporaryDirectory(prefix="laneway-sandbox-"))
            settings = Settings(data_dir=Path(folder))
        worker = settings.worker.model_copy(
            update={"name": None, "concurrency": concurrency or settings.worker.concurrency}
        )
        # One partition: the order of a lane is that of submission, from run to run.
        settings = settings.model_copy(update={"worker": worker, "kafka": KafkaSettings(partitions=1)})
        self._topics = Topics(settings.kafka.topic_prefix)
        self._waiting = frozenset(map(self._topics.retry, RUNGS))
        self._lanes: dict[str, Lane] = {}
        self._held.enter_context(virtual_sleep())
        self._loop = VirtualLoop(patience=patience, stalled_after=stalled_after)
        self._crashes = Crashes()
        self._log = MemoryLog(self._topics, self._clock, self._appended)
        self._world = World(
            loop=self._loop,
            log=self._log,
            topics=self._topics,
            settings=settings,
            registry=handlers,
            crashes=self._crashes,
            jitter=random.Random(self.seed),  # noqa: S311  (jitter, not a secret)
            clock=self._clock,
            committed={},
        )
        self.files = FileStore(settings.files_dir)
        """Where payloads' files are put and results' files found."""
        self._admission: Admission
        self._admitted: list[str] | None = None
        self._worker: SimulatedWorker | None = None
        self._down = False
        self._workers = 0
        self._turning = threading.Lock()

    # Time ---------------------------------------------------------------------------------------------------------

    @property
    def now(self) -> datetime:
        """What the clock says."""
        return self._clock()

    def advance(self, by: timedelta | float) -> None:
        """Let time pass, in seconds where it is a number, and run all that becomes due; zero runs what is due now.

        Raises:
            SandboxError: called from within a handler, or a handler's thread does not return.
        """
        seconds = by.total_seconds() if isinstance(by, timedelta) else by
        if seconds < 0:
            raise ValueError(f"advance: time does not go back ({seconds:g} s)")
        self._turn(self._loop.time() + seconds, lambda: False)

    def run(self, *task_ids: str, within: timedelta = _LONG) -> None:
        """Run until these tasks, or all, are final, waiting for retries and delays in virtual time.

        Raises:
            SandboxError: some are not final ``within`` that much virtual time; or as in ``advance``.
        """
        wanted = set(task_ids)
        for task_id in wanted:
            self.status(task_id)

        def unfinished() -> set[str]:
            return self._log.unfinished & wanted if wanted else self._log.unfinished

        self._turn(self._loop.time() + within.total_seconds(), lambda: not unfinished() and not self._down)
        if left := unfinished():
            told = ", ".join(f"{each} ({self._log.statuses[each].state})" for each in sorted(left)[:5])
            more = f" and {len(left) - 5} more" if len(left) > 5 else ""
            held = "".join(
                f"; {each.lane} is held until resume ({each.reason or 'paused'})" for each in self.held_lanes()
            )
            raise SandboxError(f"not final after {within} of virtual time: {told}{more}{held}")

    # Submitting ---------------------------------------------------------------------------------------------------

    def submit(self, type: str, payload: object, **options: Unpack[SubmitOptions]) -> Status:  # noqa: A002  (the contract's word)
        """Accept a task as the API does; answers its status. It runs with the next ``run`` or ``advance``.

        Raises:
            AdmissionError: the API would refuse it; the subclass says why.
        """
        body = submission_body(type, payload, options)
        key = options.get("idempotency_key")
        submission = decode_submission(body)
        task_id, digest = new_id(), None
        if key is not None:
            task_id, digest = keyed_id(key), fingerprint(body)
            if (present := self._log.statuses.get(task_id)) is not None:
                check_body(present, digest)
                return present
        self._know_types()
        accepted = self._admission.accept(submission, moment(now=self._clock()), task_id, digest)
        self._log.append(map(_outgoing, (accepted.task, accepted.status, accepted.event)))
        return self._log.statuses[task_id]

    # What became of it --------------------------------------------------------------------------------------------

    def status(self, task_id: str) -> Status:
        """The present status.

        Raises:
            TaskNotFoundError: no such task was accepted here.
        """
        found = self._log.statuses.get(task_id)
        if found is None:
            raise TaskNotFoundError(f"no task of the id {task_id!r} was accepted in this sandbox", id=task_id)
        return found

    def result(self, task_id: str) -> Any:
        """What the handler returned, after its way through JSON.

        Raises:
            TaskFailedError: the task has not ended, or ended without a result.
            TaskNotFoundError: no such task was accepted here.
        """
        status = self.status(task_id)
        if status.state is not State.SUCCEEDED:
            told = f": {status.error.type}: {status.error.message}" if status.error else ""
            raise TaskFailedError(f"task {task_id} has no result, it is {status.state}{told}")
        return msgspec.json.decode(status.result)

    def outcomes(self, type: str) -> list[Outcome]:  # noqa: A002
        """What ``results.<type>`` has, oldest first: one for each task that ended, or the same again after a crash."""
        return [codec.decode(record.value, Outcome) for record in self._records(self._topics.results(type))]

    def events(self, task_id: str) -> list[Event]:
        """The task's timeline: each transition and progress report, with errors and tracebacks."""
        self.status(task_id)
        events = [codec.decode(record.value, Event) for record in self._records(self._topics.events)]
        return [event for event in events if event.id == task_id]

    def callbacks(self) -> list[PostedCallback]:
        """What would be posted to ``callback_url`` of tasks, by priority and then oldest first; nothing is sent."""
        lanes = [self._topics.lane(Lane(CALLBACK_TYPE, priority)) for priority in Priority]
        posted = [posted_callback(record.value) for lane in lanes for record in self._records(lane)]
        return list({each.id: each for each in posted}.values())

    def dead_letters(self, type: str) -> list[DeadLetter]:  # noqa: A002
        """What ``tasks.<type>.dlq`` has, oldest first."""
        return [
            dead_letter(record.key, record.value, record.headers)
            for record in self._records(self._topics.dead_letters(type))
        ]

    # What operators do --------------------------------------------------------------------------------------------

    def cancel(self, task_id: str) -> Cancelled:
        """Call a task off, and run what is due now; answers what the API does.

        Raises:
            TaskNotFoundError: no such task was accepted here.
        """
        status = self.status(task_id)
        if status.state.final:
            return what_it_was(status)
        topic = self._topics.cancellations
        self._ask(topic, task_id, codec.encode(cancellation_of(status, self.now)))
        asked = [record for record in self._records(topic) if record.key == task_id.encode()][-1]
        answered = msgspec.json.decode(asked.value, type=Cancellation) if asked.value is not None else None
        if answered is not None and not answered.answered:
            return Cancelled.REQUESTED  # there is no worker now
        if answered is not None and answered.outcome is Cancelled.WHILE_RUNNING:
            return Cancelled.WHILE_RUNNING
        status = self.status(task_id)
        if status.state.final:
            return what_it_was(status)
        if status.state is State.RUNNING:  # in a process that died; it is not started anew
            return Cancelled.WHILE_RUNNING
        ended, event = called_off(status, self.now)
        outcome = Outcome.of(ended)
        self._log.append(
            OutgoingRecord(topic, 0, task_id.encode(), codec.encode(record), [])
            for topic, record in (
                (self._topics.status, ended),
                (self._topics.events, event),
                (self._topics.results(ended.type), outcome),
            )
        )
        if ended.callback_url:
            self._log.append(callback_records(self._topics, 1, SOURCE, ended.callback_url, outcome))
        return Cancelled.BEFORE_START

    def pause(self, type: str, priority: Priority | str | None = None, *, reason: str | None = None) -> None:  # noqa: A002
        """Hold a lane, or every lane of a type: nothing of it starts any more, what runs goes on."""
        self._hold(type, priority, reason, paused=True)

    def resume(self, type: str, priority: Priority | str | None = None) -> None:  # noqa: A002
        """Let a lane, or every lane of a type, flow again: what waits in it starts."""
        self._hold(type, priority, None, paused=False)

    def held_lanes(self) -> list[LaneControl]:
        """Lanes that are held, by ``pause`` or because they made too many dead letters; each with its ``reason``."""
        told = [codec.decode(record.value, LaneControl) for record in self._records(self._topics.control)]
        return [each for each in {asked.lane: asked for asked in told}.values() if each.paused]

    # Breaking it --------------------------------------------------------------------------------------------------

    def crash(self, task_id: str, at: Point = "running", *, times: int = 1) -> None:
        """Have the process that works on a task die the next ``times`` times that the task is at a point.

        The points are in ``laneway.testing.crashes.MEANINGS``. At ``running`` the handler crashes its process, as
        native code does, and is a suspect afterwards: it runs alone until it has ended, or is poison. At the others
        the process is killed. What ran beside it in the worker's process runs again, too.
        """
        self.status(task_id)
        self._crashes.arm(task_id, at, times)

    def kill_worker(self) -> None:
        """Kill the worker's process as an operator's SIGKILL does; another one follows within a virtual second."""
        if self._worker is not None:
            self._worker.crash("SIGKILL", from_within=False)

    # The end ------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Drop what is left: nothing runs any more, nothing is left behind."""
        if self._worker is not None:
            self._worker.end()
        self._beside_other_loops(self._loop.close)
        self._held.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            error.add_note(f"the sandbox was Sandbox(seed={self.seed})")
        self.close()

    # ---------------------------------------------------------------------------------------------------------------

    def _clock(self) -> datetime:
        return self._epoch + timedelta(seconds=self._loop.time())

    def _hold(self, type_name: str, priority: Priority | str | None, reason: str | None, *, paused: bool) -> None:
        self._know_types()
        for each in Priority if priority is None else [Priority(priority)]:
            lane = Lane(self._admission.type_of(type_name).name, each)
            asked = LaneControl(
                type=lane.type, priority=lane.priority, paused=paused, at=self.now, by="api", reason=reason
            )
            self._ask(self._topics.control, asked.key, codec.encode(asked))

    def _ask(self, topic: str, key: str, value: bytes) -> None:
        """Put an operator's request into the log; the worker knows of it before it starts anything more."""

        def tell() -> None:
            (offset,) = self._log.append([OutgoingRecord(topic, 0, key.encode(), value, [])])
            if self._worker is not None:
                self._worker.take(TableRecord(topic, 0, offset, key.encode(), value))

        self._turn(self._loop.time(), lambda: False, tell)

    def _turn(self, until: float, enough: Callable[[], bool], first: Callable[[], None] | None = None) -> None:
        if not self._turning.acquire(blocking=False):
            raise SandboxError("the sandbox runs already: time passes neither from within a handler nor twice at once")
        try:
            self._know_types()
            if first is not None:
                first()
            self._beside_other_loops(lambda: self._loop.turn(until, enough))
        finally:
            self._turning.release()

    @staticmethod
    def _beside_other_loops(work: Callable[[], None]) -> None:
        """Do it here, or in a thread where an event loop runs here: a thread can have one at a time."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            work()
            return
        failed: list[BaseException] = []

        def caught() -> None:
            try:
                work()
            except BaseException as error:  # noqa: BLE001  (raised again by whoever waits)
                failed.append(error)

        thread = threading.Thread(target=caught, name="sandbox", daemon=True)
        thread.start()
        thread.join()
        if failed:
            raise failed[0]

    def _know_types(self) -> None:
        """Have admission and the worker know what is registered by now."""
        names = self._world.registry.names
        if names != self._admitted:
            self._admitted = names
            self._admission = Admission(self._world.settings, self._world.registry)
            lanes = [Lane(name, priority) for name in names for priority in Priority]
            self._lanes = {self._topics.lane(lane): lane for lane in lanes}
        if self._down:
            return
        if self._worker is None or (self._worker.types != names and self._worker.idle):
            if self._worker is not None:
                self._worker.end()
            self._start_soon([])

    def _start_soon(self, suspects: list[Suspect], after: float = 0.0) -> None:
        self._down = True
        self._loop.call_later(after, self._start, suspects)

    def _start(self, suspects: list[Suspect]) -> None:
        self._down = False
        self._workers += 1
        self._worker = SimulatedWorker(self._world, self._workers, suspects, self._died)

    def _died(self, suspects: list[Suspect]) -> None:
        self._start_soon(suspects, _RESTARTED_AFTER)

    def _appended(self, record: StoredRecord) -> None:
        """On whichever thread it was: see to what is to be done about a record."""
        with contextlib.suppress(RuntimeError):  # a thread that outlived the sandbox
            if (lane := self._lanes.get(record.topic)) is not None:
                self._loop.call_soon_threadsafe(self._deliver, lane, record.partition)
            elif record.topic in self._waiting:
                self._loop.call_soon_threadsafe(self._wait, record)

    def _deliver(self, lane: Lane, number: int) -> None:
        if self._worker is not None:
            self._worker.deliver(lane, number)

    def _wait(self, record: StoredRecord) -> None:
        """A waiting record: back to its lane once it is due."""
        due = read_delivery(record.headers).not_before or self.now
        self._loop.call_at((due - self._epoch).total_seconds(), self._due, record)

    def _due(self, record: StoredRecord) -> None:
        task = codec.decode(record.value, Task)
        lane = self._topics.lane(task.lane)
        self._log.append(
            [OutgoingRecord(lane, record.partition, task.partition_key.encode(), record.value, record.headers)]
        )

    def _records(self, topic: str) -> list[StoredRecord]:
        return [
            record
            for number in range(self._world.settings.kafka.partitions)
            for record in self._log.read(topic, number)
        ]


def _outgoing(record: EncodedRecord) -> OutgoingRecord:
    return OutgoingRecord(record.topic, record.partition, *read_body(record.body))
