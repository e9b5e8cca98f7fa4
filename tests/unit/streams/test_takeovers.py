"""A partition that was not handed over in order is opened by what status tells a while after it came, not at once."""

import asyncio
import contextlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from schemas.settings import KafkaSettings, Settings
from schemas.status import State
from streams import takeovers
from streams.markers import Takeover
from streams.takeovers import Takeovers
from tests.support.dispatching import LANE, Runs, dispatcher, records
from tests.support.views import status
from tests.support.waiting import eventually

ENDED = status("5", State.SUCCEEDED, type=LANE.type, priority=LANE.priority, attempt=1)


class Markers:
    """Tells of no end as long as the former owner may have more to tell, and of one from then on."""

    def __init__(self, *, handed_over: bool) -> None:
        self.looks = 0
        self._handed_over = handed_over

    def take_over(self, _: object, __: object, heard_out: set[int]) -> dict[int, Takeover]:
        self.looks += 1
        if heard_out:
            return {0: Takeover({ENDED.id: ENDED}, 5, 6)}
        return {0: Takeover({}, 5, 6)} if self._handed_over else {}

    def close(self) -> None: ...


async def nothing(*_: object) -> Any:
    return {}


@pytest.mark.parametrize(("handed_over", "looks", "starts"), [(True, 1, [5]), (False, 2, [])])
async def test_last_words_are_heard(
    handed_over: bool, looks: int, starts: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(takeovers, "_LAST_WORDS_WITHIN", 0.05)
    made = dispatcher(tmp_path, runs := Runs())
    repaired: list[str] = []
    cast("Any", made._outcomes).repair = lambda work, _: repaired.append(work.task.id)
    made.assigned(LANE, {0}, "member")
    await made.admit(LANE, records(5, 5))
    consumer = SimpleNamespace(committed_before=nothing, alive=nothing)
    parts = cast("Any", SimpleNamespace(learn=lambda _: None, current=nothing))
    settings = Settings(data_dir=tmp_path, kafka=KafkaSettings(bootstrap_servers="127.0.0.1:1"))
    apps = cast("Any", {LANE: SimpleNamespace(consumer=consumer)})
    under_test = Takeovers(settings, made, parts, parts, apps)
    under_test._markers = cast("Any", markers := Markers(handed_over=handed_over))
    under_test._suspects = cast("Any", SimpleNamespace(read=lambda _: (), close=lambda: None))
    following = asyncio.create_task(under_test.run())
    await eventually(lambda: not made.unopened(), within=10)
    following.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await following
    assert (markers.looks, runs.due) == (looks, starts)
    assert repaired == ([] if starts else ["5"])
