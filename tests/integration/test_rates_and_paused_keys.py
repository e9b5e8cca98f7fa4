"""Rates hold on all workers together, and a key that is paused holds up nobody else."""

import time
from collections import defaultdict
from pathlib import Path

import pytest

from schemas.settings import Settings
from tests.support.controlled import MODULE
from tests.support.waiting import eventually
from tests.support.workers import outcomes, running_worker, submit

pytestmark = pytest.mark.timeout(200)
OTHERS = 1000


def noted(ledger: Path, what: str) -> dict[str, list[float]]:
    """When, by task."""
    found: defaultdict[str, list[float]] = defaultdict(list)
    for line in ledger.read_text().splitlines():
        kind, task_id, at = line.split()
        if kind == what:
            found[task_id].append(float(at))
    return found


async def test_a_rate_holds_on_two_workers_together(settings: Settings, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    with (
        running_worker(settings, tmp_path / "first.log", "ctl.rated", module=MODULE) as first,
        running_worker(settings, tmp_path / "second.log", "ctl.rated", module=MODULE) as second,
    ):
        await first.ready()
        await second.ready()
        began = time.time()
        submit(settings, "ctl.rated", [{"path": str(ledger)}] * 60)
        await outcomes(settings, "ctl.rated", 60)
    starts = sorted(at for times in noted(ledger, "start").values() for at in times)
    # 20 a second in all, of which one lane has a third while the others are idle; at first a burst of a second's worth.
    for index, at in enumerate(starts):
        assert index + 1 <= 20 * (at - began) + 20 + 2, f"{index + 1} starts after {at - began:.2f} s"
    assert starts[-1] - began > (60 - 22) / 20


@pytest.mark.long
async def test_others_take_no_longer_beside_a_paused_key(settings: Settings, tmp_path: Path) -> None:
    ledger = tmp_path
    took: dict[int, float] = {}
    paused: list[str] = []
    behind: list[str] = []
    with running_worker(settings, tmp_path / "worker.log", "ctl.keyed", module=MODULE) as worker:
        await worker.ready()
        for pause in (0, 20):
            ledger = tmp_path / f"ledger-{pause}"
            payload = {"path": str(ledger)}
            ledger.touch()
            if pause:
                paused = submit(settings, "ctl.keyed", [{**payload, "pause": pause}], ordering_key="slow")
                behind = submit(settings, "ctl.keyed", [payload] * 20, ordering_key="slow")
                await eventually(lambda: len(noted(ledger, "start")) == 1, within=20)  # noqa: B023
            began = time.time()
            others = {
                task_id
                for key in _keys_beside("slow", settings.kafka.partitions)
                for task_id in submit(settings, "ctl.keyed", [payload], ordering_key=key)
            }
            await eventually(lambda: others <= noted(ledger, "end").keys(), within=60)  # noqa: B023
            took[pause] = max(max(noted(ledger, "end")[each]) for each in others) - began
        # The key is paused all the while, then goes on in its order.
        assert not noted(ledger, "end").keys() & {*paused, *behind}
        await eventually(lambda: {*paused, *behind} <= noted(ledger, "end").keys(), within=60)
        first = noted(ledger, "start")[paused[0]]
        assert len(first) == 2
        assert first[1] - first[0] >= 20
        ends = noted(ledger, "end")
        assert [*paused, *behind] == sorted([*paused, *behind], key=lambda each: ends[each][0])
    assert took[20] < 2 * took[0] + 2, (
        f"{OTHERS} tasks of other keys: {took[0]:.2f} s, beside a paused key {took[20]:.2f} s"
    )


def _keys_beside(key: str, partitions: int) -> list[str]:
    """Other keys of the same partition."""
    from schemas.topics import partition_of

    number = partition_of(key, partitions)
    found = (f"key-{index}" for index in range(100 * OTHERS))
    return [each for each in found if partition_of(each, partitions) == number][:OTHERS]
