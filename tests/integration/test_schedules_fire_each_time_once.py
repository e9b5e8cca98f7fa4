"""Every second fires exactly once, however often those who fire are killed or frozen at whatever; none fires early."""

import asyncio
import logging
import os
import random
import signal
from collections import Counter
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest

from schemas import codec
from schemas.outcome import Outcome
from schemas.schedule import Missed
from schemas.settings import Settings
from schemas.status import State
from schemas.topics import partition_of
from tests.support.chaos.processes import crash_mark, with_crash_point
from tests.support.fleets import says
from tests.support.schedules import define, expected_ids, put, schedule_of
from tests.support.waiting import eventually
from tests.support.workers import RunningWorker, outcome_records, running_worker

TYPE = "test.ledger"
NOTHING = "test.echo"
BETWEEN_TASK_AND_PROGRESS = "after_firing:6"


@pytest.mark.long
async def test_a_killed_and_a_frozen_scheduler_lose_and_repeat_nothing(settings: Settings, tmp_path: Path) -> None:
    await _each_second_once(settings, tmp_path, seconds=40, kills=1, freezes=1)


@pytest.mark.long
@pytest.mark.timeout(420)
async def test_five_kills_in_three_minutes_lose_and_repeat_nothing(settings: Settings, tmp_path: Path) -> None:
    await _each_second_once(settings, tmp_path, seconds=180, kills=5, freezes=3)


async def _each_second_once(settings: Settings, tmp_path: Path, *, seconds: float, kills: int, freezes: int) -> None:
    """The workers that are struck have no lane of the tasks: what starts twice was fired twice."""
    ledger = tmp_path / "ledger"
    strikes = random.sample([*[signal.SIGKILL] * kills, *[signal.SIGSTOP] * freezes], kills + freezes)
    began = asyncio.get_running_loop().time()
    with ExitStack() as stack:

        def scheduler(number: int, of: Settings = settings) -> RunningWorker:
            return stack.enter_context(running_worker(of, tmp_path / f"scheduler-{number}.log", NOTHING))

        runner = stack.enter_context(running_worker(settings, tmp_path / "runner.log", TYPE))
        struck = scheduler(0, with_crash_point(settings, BETWEEN_TASK_AND_PROGRESS))
        await runner.ready()
        await struck.ready()
        schedules = [
            schedule_of(name, type=TYPE, payload={"path": str(ledger)}, missed=Missed.ALL)
            for name in _one_in_each_partition(settings.kafka.partitions)
        ]
        define(settings, *schedules)
        await eventually(crash_mark(settings, BETWEEN_TASK_AND_PROGRESS).exists, within=40, what="a death in between")
        await says(struck.log, "worker ready", times=2)
        for number, strike in enumerate(strikes, 1):
            at = began + number * seconds / (len(strikes) + 1) + random.uniform(-0.5, 0.5)
            await asyncio.sleep(max(0.0, at - asyncio.get_running_loop().time()))
            await _fires(struck)
            if strike is signal.SIGSTOP:
                os.killpg(struck.process.pid, signal.SIGSTOP)
                # Taken for dead, it comes back in the middle of whatever it was at, and goes on for a while.
                await asyncio.sleep(settings.worker.session_timeout + 2)
                os.killpg(struck.process.pid, signal.SIGCONT)
                await asyncio.sleep(2)
            struck.kill()
            struck = scheduler(number)
            await struck.ready()
        await asyncio.sleep(max(0.0, began + seconds - asyncio.get_running_loop().time()))
        expected = {task_id: at for each in schedules for task_id, at in expected_ids(each, datetime.now(UTC)).items()}
        await eventually(lambda: expected.keys() <= _outcomes(settings).keys(), within=60, what="a task each second")
        for schedule in schedules:
            put(settings, schedule.name, None)
        found = _outcomes(settings)
        starts = Counter(line.split()[1] for line in ledger.read_text().splitlines() if line.startswith("start"))
    logging.getLogger(__name__).warning(
        "%s firings of %s schedules, strikes %s, latest start %.1f s late",
        len(expected),
        len(schedules),
        [each.name for each in strikes],
        max((_started(found[task_id]) - at).total_seconds() for task_id, at in expected.items()),
    )
    assert len(expected) > len(schedules) * seconds / 2
    assert {outcome.state for outcome in found.values()} == {State.SUCCEEDED}
    assert {task_id: starts[task_id] for task_id in expected if starts[task_id] != 1} == {}
    assert max(starts.values()) == 1
    assert {task_id: at for task_id, at in expected.items() if _started(found[task_id]) < at} == {}


def _one_in_each_partition(partitions: int) -> list[str]:
    names: dict[int, str] = {}
    for number in range(1_000):
        names.setdefault(partition_of(f"tick-{number}", partitions), f"tick-{number}")
    assert len(names) == partitions
    return list(names.values())


async def _fires(worker: RunningWorker) -> None:
    await eventually(lambda: "schedule fired" in worker.log.read_text(), within=30, what="a scheduler that fires")


def _outcomes(settings: Settings) -> dict[str, Outcome]:
    found = [codec.decode(record.value, Outcome) for record in outcome_records(settings, TYPE)]
    return {outcome.id: outcome for outcome in found}


def _started(outcome: Outcome) -> datetime:
    assert outcome.started_at is not None
    return outcome.started_at
