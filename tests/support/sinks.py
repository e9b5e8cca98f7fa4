"""Outcomes put straight onto the log, and the process that writes them to a sink."""

import asyncio
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Final

from confluent_kafka import Producer
from msgspec import Raw

from laneway.ids import new_id
from schemas import codec
from schemas.outcome import Outcome
from schemas.settings import Settings, environment_for
from schemas.status import State
from schemas.task import Priority
from schemas.topics import Topics, partition_of
from tests.support.source_tree import ROOT
from tests.support.waiting import eventually

TYPE: Final = "test.ledger"
_NOON: Final = datetime(2026, 3, 1, 12, tzinfo=UTC)


def outcome(number: int = 0, *, task_id: str | None = None, generation: int = 1, result: bytes = b"null") -> Outcome:
    """One that succeeded."""
    return Outcome(
        id=task_id or new_id(),
        type=TYPE,
        priority=Priority.NORMAL,
        state=State.SUCCEEDED,
        result=Raw(result),
        attempt=1,
        max_attempts=5,
        created_at=_NOON,
        started_at=_NOON + timedelta(milliseconds=number),
        finished_at=_NOON + timedelta(seconds=1),
        labels={"number": str(number)},
        generation=generation,
    )


def publish(settings: Settings, outcomes: Sequence[Outcome]) -> None:
    """Append outcomes to their partitions, as a worker does."""
    topic = Topics(settings.kafka.topic_prefix).results(TYPE)
    producer = Producer({"bootstrap.servers": settings.bootstrap_servers, "linger.ms": 5})
    for each in outcomes:
        partition = partition_of(each.id, settings.kafka.partitions)
        producer.produce(topic, codec.encode(each), each.id.encode(), partition)
        producer.poll(0)
    assert producer.flush(30) == 0


def arguments(address: str, *more: str) -> list[str]:
    """The command that writes the type's outcomes to a sink."""
    return [sys.executable, "-m", "laneway.cli", "results", TYPE, "--sink", address, *more]


@contextmanager
def pouring(settings: Settings, log: Path, address: str, *more: str) -> Iterator["subprocess.Popen[bytes]"]:
    """That command as a process, which is killed at the end of the block where it still runs."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            arguments(address, *more),
            cwd=ROOT,
            env={**environment_for(settings), "PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait(10)


async def kill_while_pouring(
    settings: Settings,
    log: Path,
    address: str,
    written: Callable[[], int],
    *,
    total: int,
    kills: int,
    seed: int,
    new_groups: bool,
) -> set[str]:
    """Publish ``total`` outcomes while the sink's process is killed again and again, then let it catch up.

    Args:
        settings: which cluster.
        log: where the process writes.
        address: of the sink.
        written: counts what it holds.
        total: outcomes in all.
        kills: how often it dies, each time after it has written something of what was published since it began.
        seed: of how long after that.
        new_groups: give each life a group of its own. The position is the sink's, so that must change nothing; and no
            life waits for the session of the one before.

    Returns:
        The ids of all that were published.
    """
    chance = random.Random(seed)
    outcomes = [outcome(number) for number in range(total)]
    share = total // (kills + 1)
    for life in range(kills):
        more = ("--group", f"life-{life}") if new_groups else ()
        with pouring(settings, log, address, "--follow", *more) as process:
            before = written()
            mine = outcomes[life * share : (life + 1) * share]
            publishing = asyncio.create_task(asyncio.to_thread(publish, settings, mine))
            await eventually(partial(_more_than, before, written), within=60, what=f"more in the sink ({log})")
            await asyncio.sleep(chance.random() / 4)  # nothing is waited for: this is where in its work it dies
            assert process.poll() is None, f"it ended by itself: {log}"
            process.send_signal(signal.SIGKILL)
            process.wait(10)
        await publishing
    publish(settings, outcomes[kills * share :])
    more = ("--group", "last-life") if new_groups else ()
    with pouring(settings, log, address, *more) as process:
        code = await asyncio.to_thread(process.wait, 90)
        assert code == 0, await asyncio.to_thread(log.read_text)
    return {each.id for each in outcomes}


def _more_than(before: int, written: Callable[[], int]) -> bool:
    return written() > before
