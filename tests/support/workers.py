"""A worker as a process, tasks put straight onto lanes, and what became of them."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from laneway.ids import new_id
from schemas import codec
from schemas.outcome import Outcome
from schemas.settings import Settings, environment_for
from schemas.task import Lane, Priority, Task
from schemas.topics import Topics, partition_of
from tests.support.kafka import Record, apply_topics, produce_raw, read_all
from tests.support.source_tree import ROOT
from tests.support.waiting import eventually


class RunningWorker:
    """A worker process."""

    def __init__(
        self,
        settings: Settings,
        log: Path,
        types: tuple[str, ...],
        module: str,
        address_space: int | None,
        priorities: str | None,
    ) -> None:
        bound = () if address_space is None else ("sh", "-c", f'ulimit -v {address_space // 1024}; exec "$0" "$@"')
        self.log = log
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [
                    *bound,
                    sys.executable,
                    "-m",
                    "laneway.cli",
                    "worker",
                    "--types",
                    ",".join(types),
                    "--import",
                    module,
                    *(["--priorities", priorities] if priorities else []),
                ],
                cwd=ROOT,
                env={**environment_for(settings), "PYTHONPATH": str(ROOT)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    async def ready(self) -> None:
        """Wait until its lanes are consumed."""
        await eventually(lambda: "worker ready" in self.log.read_text(), within=60, what="a ready worker")

    def kill(self) -> None:
        """End it without warning."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)

    def stop(self) -> int:
        """End it in order."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(40)


@contextmanager
def running_worker(
    settings: Settings,
    log: Path,
    *types: str,
    module: str = "tests.support.handlers",
    address_space: int | None = None,
    priorities: str | None = None,
) -> Iterator[RunningWorker]:
    """A worker of ``types``, from ``module``, for as long as the block runs; their topics are made first.

    Args:
        settings: of the worker.
        log: where it writes.
        types: it works on.
        module: that has them.
        address_space: bytes that each of its processes may have.
        priorities: it works on; all by default.
    """
    apply_topics(settings, types)
    worker = RunningWorker(settings, log, types, module, address_space, priorities)
    try:
        yield worker
    finally:
        if worker.process.poll() is None:
            worker.stop()


def submit(
    settings: Settings, type_name: str, payloads: list[Any], priority: Priority = Priority.NORMAL, **fields: Any
) -> list[str]:
    """Put tasks onto their lane; answers their ids."""
    lane = Topics(settings.kafka.topic_prefix).lane(Lane(type_name, priority))
    by_partition: dict[int, list[bytes]] = {}
    ids = []
    for payload in payloads:
        task = Task(
            id=new_id(), type=type_name, payload=msgspec.Raw(codec.encode(payload)), priority=priority, **fields
        )
        ids.append(task.id)
        number = partition_of(task.partition_key, settings.kafka.partitions)
        by_partition.setdefault(number, []).append(codec.encode(task))
    for number, values in by_partition.items():
        produce_raw(settings.bootstrap_servers, lane, values, partition=number)
    return ids


def outcome_records(settings: Settings, type_name: str) -> list[Record]:
    """The records of ``results.<type>`` so far."""
    return read_all(settings.bootstrap_servers, Topics(settings.kafka.topic_prefix).results(type_name))


async def outcomes(settings: Settings, type_name: str, count: int, *, within: float = 60) -> dict[str, Outcome]:
    """Outcomes by task id, once there are ``count``."""

    def enough() -> dict[str, Outcome]:
        found = [codec.decode(record.value, Outcome) for record in outcome_records(settings, type_name)]
        by_id = {outcome.id: outcome for outcome in found}
        assert len(by_id) >= count, f"{len(by_id)} of {count} outcomes"
        return by_id

    return await eventually(enough, within=within)
