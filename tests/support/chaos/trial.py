"""One trial: a system with topics of its own, what is done to it, and everything that the judge needs to know."""

import asyncio
import contextlib
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex
from typing import Any, Self

import msgspec

from laneway.ids import new_id
from schemas import codec
from schemas.settings import ApiSettings, KafkaSettings, Settings, WorkerSettings
from schemas.status import State
from schemas.task import Lane, Priority, Task
from schemas.topics import Topics, partition_of
from tests.support.api import TYPES as BUILT_IN_TYPES
from tests.support.chaos.accepted import AcceptedLedger, Submission
from tests.support.chaos.cluster import StruckCluster
from tests.support.chaos.faults import FaultLog
from tests.support.chaos.handlers import TYPES as CHAOS_TYPES
from tests.support.chaos.handlers import WORK
from tests.support.chaos.judge import Evidence, Verdict, judge, left_behind
from tests.support.chaos.observer import Observer
from tests.support.chaos.offsets import OffsetSampler
from tests.support.chaos.processes import StruckApi, StruckProcess, StruckWorker
from tests.support.chaos.runs import Run, read_runs
from tests.support.kafka import apply_topics, delete_topics, produce_raw
from tests.support.waiting import eventually

MENDED_WITHIN = 10.0
"""Seconds that a view has for a status that came late: it waits for one to two before it mends."""


class Trial:
    """A system under faults.

    Args:
        cluster: its brokers.
        folder: for its data, logs and ledgers; empty.
        types: that its workers run.
        partitions: of each lane.
        with_api: make the topics of every type that an API with our handlers knows.
        worker: settings of its workers; those not named are made short.
        kafka: further settings of the clients.
    """

    def __init__(
        self,
        cluster: StruckCluster,
        folder: Path,
        *,
        types: Sequence[str] = (WORK,),
        partitions: int = 2,
        with_api: bool = False,
        worker: dict[str, Any] | None = None,
        kafka: dict[str, Any] | None = None,
    ) -> None:
        self.cluster = cluster
        self.folder = folder
        self.types = tuple(types)
        self._declared = (*BUILT_IN_TYPES, *CHAOS_TYPES) if with_api else self.types
        self.settings = Settings(
            data_dir=folder / "data",
            kafka=KafkaSettings(
                bootstrap_servers=cluster.bootstrap_servers,
                topic_prefix=f"t{token_hex(5)}.",
                partitions=partitions,
                replication_factor=cluster.brokers,
                **(kafka or {}),
            ),
            api=ApiSettings(port=0, accept_timeout=5.0, max_wait=10.0),
            worker=WorkerSettings(
                **{"drain_timeout": 5.0, "session_timeout": 4.0, "commit_interval": 0.25, **(worker or {})}
            ),
        )
        self.topics = Topics(self.settings.kafka.topic_prefix)
        self.faults = FaultLog()
        self.processes: list[StruckProcess] = []
        self.runs_file = folder / "runs"
        self.effects = folder / "effects"

    def start(self) -> Self:
        """Make the topics and begin to watch."""
        self.effects.mkdir(parents=True)
        self.settings.data_dir.mkdir()
        self.accepted = AcceptedLedger(self.folder / "accepted")
        apply_topics(self.settings, self._declared)
        prefix = self.settings.kafka.topic_prefix
        lanes = [Lane(name, priority) for name in self.types for priority in Priority]
        self.observer = Observer(self.cluster.direct_servers, prefix)
        self.offsets = OffsetSampler(self.cluster.direct_servers, prefix, lanes, self.settings.kafka.partitions)
        self.observer.start()
        self.offsets.start()
        return self

    def end(self) -> None:
        """Leave nothing behind."""
        for process in self.processes:
            process.end()
        self.offsets.stop()
        self.observer.stop()
        self.accepted.close()
        delete_topics(self.settings)

    # Processes ----------------------------------------------------------------------------------------------------

    def start_worker(self, settings: Settings | None = None, *, concurrency: int | None = None) -> StruckWorker:
        """Start a worker; it may not be ready yet."""
        log = self.folder / f"worker-{len(self.processes)}.log"
        worker = StruckWorker(settings or self.settings, log, self.faults, self.types, concurrency)
        self.processes.append(worker)
        return worker

    async def worker(self, settings: Settings | None = None, *, concurrency: int | None = None) -> StruckWorker:
        """A worker that consumes."""
        worker = self.start_worker(settings, concurrency=concurrency)
        await worker.ready()
        return worker

    async def api(self, settings: Settings | None = None) -> StruckApi:
        """An API that is ready."""
        api = StruckApi(settings or self.settings, self.folder / f"api-{len(self.processes)}.log", self.faults)
        self.processes.append(api)
        await api.ready()
        return api

    # Work ---------------------------------------------------------------------------------------------------------

    def payload(self, submission: Submission, **more: Any) -> dict[str, Any]:
        """What a handler of the trial gets."""
        return {"runs": str(self.runs_file), "effects": str(self.effects), "number": submission.number, **more}

    def submit(
        self,
        count: int,
        *,
        type_name: str = WORK,
        priority: Priority = Priority.NORMAL,
        partition: int | None = None,
        ends: tuple[State, ...] = (State.SUCCEEDED,),
        max_attempts: int = 3,
        timeout: float | None = None,
        **payload: Any,
    ) -> list[str]:
        """Put tasks straight onto their lane, as another client of Kafka may; the broker's yes is the promise.

        ``partition`` asks for ids that fall into it.
        """
        tasks: dict[int, list[tuple[Submission, Task]]] = {}
        for _ in range(count):
            submission = self.accepted.asked(ends=ends, max_attempts=max_attempts)
            number, task_id = self._placed(partition)
            task = Task(
                id=task_id,
                type=type_name,
                payload=msgspec.Raw(codec.encode(self.payload(submission, **payload))),
                priority=priority,
                max_attempts=max_attempts,
                timeout=timeout,
            )
            tasks.setdefault(number, []).append((submission, task))
        lane = self.topics.lane(Lane(type_name, priority))
        ids = []
        for number, placed in tasks.items():
            values = [codec.encode(task) for _, task in placed]
            produce_raw(self.cluster.direct_servers, lane, values, partition=number)
            for index, (submission, task) in enumerate(placed, 1):
                self.accepted.promised(submission, task.id, more=index < len(placed))
                ids.append(task.id)
        return ids

    def _placed(self, wanted: int | None) -> tuple[int, str]:
        while True:
            task_id = new_id()
            number = partition_of(task_id, self.settings.kafka.partitions)
            if wanted is None or number == wanted:
                return number, task_id

    def gate(self, name: str = "gate") -> Path:
        """A file that tasks with ``until`` wait for; ``touch`` it to let them go on."""
        return self.folder / name

    async def trickle(self, seconds: float, *, every: float = 0.1, **task: Any) -> list[str]:
        """Quick tasks, one after the other, for a while; answers their ids."""
        until = time.monotonic() + seconds
        ids: list[str] = []
        while time.monotonic() < until:
            ids += await asyncio.to_thread(self.submit, 1, **task)
            await asyncio.sleep(every)
        return ids

    # What came of it ----------------------------------------------------------------------------------------------

    def runs(self) -> list[Run]:
        """Every line of the handlers so far."""
        return read_runs(self.runs_file)

    def started(self, task_id: str) -> list[Run]:
        """The starts of one task so far."""
        return [run for run in self.runs() if run.task_id == task_id and run.mark == "start"]

    def open_tasks(self) -> set[str]:
        """Accepted tasks that no outcome tells of yet."""
        return {task_id for task_id in self.accepted.by_id if self.observer.seen.final(task_id) is None}

    def waits(self, task_ids: Sequence[str]) -> list[float]:
        """Seconds from the promise to the first start of each of these tasks, in the order of their promises."""
        first: dict[str, float] = {}
        for run in self.runs():
            if run.mark == "start":
                first.setdefault(run.task_id, run.at)
        return [first[task_id] - (self.accepted.by_id[task_id].accepted_at or 0.0) for task_id in task_ids]

    def pids_of(self, task_ids: Sequence[str]) -> set[int]:
        """Processes that ran any of these tasks."""
        wanted = set(task_ids)
        return {run.pid for run in self.runs() if run.task_id in wanted}

    async def all_finished(self, *, within: float) -> float:
        """Wait until every accepted task has an outcome; answers the seconds that it took."""
        began = time.monotonic()

        def finished() -> bool:
            left = self.open_tasks()
            assert not left, f"{len(left)} of {len(self.accepted.by_id)} tasks have no outcome, such as {min(left)}"
            return True

        await eventually(finished, within=within)
        return time.monotonic() - began

    async def verdict(self, *, judge_order: bool = False) -> Verdict:
        """Read to the end of the log, and judge."""
        await eventually(self.observer.caught_up, within=30, what="an observer at the end of the log")
        with contextlib.suppress(AssertionError):  # then the judge says so
            await eventually(lambda: not any(left_behind(self.observer.seen)), within=MENDED_WITHIN)
        return judge(
            Evidence(
                accepted=self.accepted,
                runs=self.runs(),
                seen=self.observer.seen,
                samples=list(self.offsets.samples),
                faults=self.faults,
                prefix=self.settings.kafka.topic_prefix,
                judge_order=judge_order,
            )
        )


@contextmanager
def running_trial(cluster: StruckCluster, folder: Path, **options: Any) -> Iterator[Trial]:
    """A trial for as long as the block runs."""
    folder.mkdir(parents=True, exist_ok=True)
    trial = Trial(cluster, folder, **options).start()
    try:
        yield trial
    finally:
        trial.end()
