"""Tasks of one ordering key run one at a time in their order, retries included, while other keys flow on."""

import re
from pathlib import Path

import pytest

from schemas.settings import Settings
from schemas.status import State
from tests.support.waiting import eventually
from tests.support.workers import outcomes, running_worker, submit

KEYED = 30


async def test_in_order_though_one_of_them_waits_for_its_retry(settings: Settings, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    with running_worker(settings, tmp_path / "worker.log", "test.stumbling") as worker:
        await worker.ready()
        # The third stumbles twice, a second and more each time: everything behind it waits, nothing else does.
        keyed = submit(
            settings,
            "test.stumbling",
            [{"path": str(ledger), "stumbles": 2 if number == 2 else 0} for number in range(KEYED)],
            ordering_key="one",
        )
        others = submit(settings, "test.stumbling", [{"path": str(ledger), "stumbles": 0}] * 40)
        await eventually(lambda: ledger.exists() and _ended(ledger, others) == set(others), within=30)
        assert not set(keyed[3:]) & _ended(ledger, keyed)
        found = await outcomes(settings, "test.stumbling", KEYED + 40)
    assert {outcome.state for outcome in found.values()} == {State.SUCCEEDED}
    assert found[keyed[2]].attempt == 3
    _one_after_the_other(ledger, keyed)


async def test_a_retry_that_is_due_before_the_broker_has_answered_starts(settings: Settings, tmp_path: Path) -> None:
    with running_worker(settings, tmp_path / "worker.log", "test.hasty") as worker:
        await worker.ready()
        (task_id,) = submit(settings, "test.hasty", [{}], ordering_key="one")
        outcome = (await outcomes(settings, "test.hasty", 1, within=20))[task_id]
    assert (outcome.state, outcome.attempt) == (State.SUCCEEDED, 3)


@pytest.mark.long
async def test_in_order_though_the_worker_is_killed(settings: Settings, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    payloads = [{"path": str(ledger), "stumbles": 1 if number % 5 == 2 else 0} for number in range(KEYED)]
    with running_worker(settings, tmp_path / "first.log", "test.stumbling") as first:
        await first.ready()
        keyed = submit(settings, "test.stumbling", payloads, ordering_key="one")
        # In the middle of waiting for a retry.
        await eventually(lambda: ledger.exists() and f"stumble {keyed[7]}" in ledger.read_text(), within=30)
        first.kill()
    with running_worker(settings, tmp_path / "second.log", "test.stumbling"):
        found = await outcomes(settings, "test.stumbling", KEYED)
    assert {found[each].attempt for each in keyed[2::5]} == {2}
    _one_after_the_other(ledger, keyed)


def _ended(ledger: Path, ids: list[str]) -> set[str]:
    return set(re.findall(r"end (\S+)", ledger.read_text())) & set(ids)


def _one_after_the_other(ledger: Path, ids: list[str]) -> None:
    """What the ledger has of these ids is all of one, then all of the next."""
    seen = [line.split()[1] for line in ledger.read_text().splitlines() if line.split()[1] in ids]
    assert list(dict.fromkeys(seen)) == ids
    assert seen == sorted(seen, key=ids.index)
