"""Who is started after a SIGKILL does not wait for the session of the dead to end, in any of its groups."""

import asyncio
import json
import time
from pathlib import Path

import pytest

from schemas.settings import Settings, WorkerSettings
from streams.forerunner import Member, Memberships, take_out
from tests.support.waiting import eventually
from tests.support.workers import running_worker, submit

TYPE = "test.ledger"
SESSION = 90.0


def lines(ledger: Path) -> list[str]:
    return ledger.read_text("utf-8").splitlines() if ledger.exists() else []


def members(settings: Settings) -> set[tuple[str, str]]:
    """Which member a worker is of each group (three lanes, timers, schedules), and whom its forerunners left there."""
    (noted,) = (settings.data_dir / "workers").glob("*.members")
    return {(group, member) for group, member in json.loads(noted.read_bytes())["members"]}


async def test_what_ran_and_what_waited_go_on(settings: Settings, tmp_path: Path) -> None:
    patient = settings.model_copy(update={"worker": WorkerSettings(session_timeout=SESSION, drain_timeout=5.0)})
    ledger, gate = tmp_path / "ledger", tmp_path / "gate"
    payload = {"path": str(ledger), "until": str(gate)}
    with running_worker(patient, tmp_path / "first.log", TYPE) as worker:
        await worker.ready()
        (running,) = submit(patient, TYPE, [payload])
        await eventually(lambda: lines(ledger) == [f"start {running}"], within=20)
        await eventually(lambda: len(members(patient)) == 5, within=20)
        dead = members(patient)
        worker.kill()
    killed_at = time.monotonic()
    gate.touch()
    with running_worker(patient, tmp_path / "second.log", TYPE):
        (later,) = submit(patient, TYPE, [payload])
        await eventually(lambda: {f"end {running}", f"end {later}"} <= set(lines(ledger)), within=60)
        assert time.monotonic() - killed_at < SESSION / 2
        await eventually(lambda: len(members(patient) - dead) == 5 and not members(patient) & dead, within=20)


@pytest.mark.parametrize("member", ["nobody-1-0c7f", ""])
async def test_a_member_that_has_left_is_nobodys_trouble(settings: Settings, member: str) -> None:
    memberships = Memberships(None)
    memberships.left_behind.add(Member("t.no-such-group", member))
    patient = settings.model_copy(update={"worker": WorkerSettings(session_timeout=SESSION)})
    async with asyncio.timeout(SESSION / 2):
        await take_out(patient, memberships)
    assert not memberships.left_behind
