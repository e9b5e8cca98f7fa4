"""Records before the place at which the group goes on start nothing, however they came, and take no commit back."""

import asyncio
from pathlib import Path

from tests.support.dispatching import LANE, Runs, dispatcher, records


async def test_they_do(tmp_path: Path) -> None:
    made = dispatcher(tmp_path, runs := Runs())
    made.assigned(LANE, {0}, "member")
    await made.admit(LANE, records(146, 150))
    (partition,) = made.unopened()
    partition.start = 167
    made.open_partition(partition)
    assert made.committable(LANE) == {}
    await made.admit(LANE, records(151, 168))
    await asyncio.sleep(0)
    assert runs.due == [167, 168]
    assert made.committable(LANE) == {0: (167, "")}
