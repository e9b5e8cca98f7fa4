"""What another process has accepted is found as soon as the view has it; the log is asked for what does not come."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest

from ingest.view.notices import NoticeWriter
from ingest.view.reader import ViewReader
from laneway.kafka.offsets import Place
from schemas.settings import ApiSettings, KafkaSettings, Settings
from tests.support.views import View, status

NEVER = 3600.0


class Ends:
    """Where the log ends, and how often that was asked."""

    def __init__(self) -> None:
        self.told: dict[int, int] = {0: 0}
        self.asked = 0

    async def ask(self) -> dict[Place, int]:
        self.asked += 1
        return {("status", number): end for number, end in self.told.items()}

    async def close(self) -> None: ...


class Bench:
    def __init__(self, folder: Path) -> None:
        settings = Settings(
            data_dir=folder, kafka=KafkaSettings(bootstrap_servers="127.0.0.1:1"), api=ApiSettings(accept_timeout=10)
        )
        self.view = View(folder / "view")
        self.notices = NoticeWriter(folder / "view")
        self.reader = ViewReader(settings)
        self.ends = Ends()
        self.reader._ends = cast("Any", self.ends)

    def comes(self, *task_ids: str) -> None:
        self.view.apply(*map(status, task_ids))
        self.notices.send()


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    made = Bench(tmp_path)
    await made.reader.start()
    yield made
    await made.reader.close()


async def test_what_comes_by_itself_asks_nothing(bench: Bench) -> None:
    asked = asyncio.create_task(bench.reader.find_strongly("a", NEVER))
    await asyncio.sleep(0)
    bench.comes("b")
    await asyncio.sleep(0.05)
    assert not asked.done()
    bench.comes("a")
    assert await asyncio.wait_for(asked, 5) is not None
    assert bench.ends.asked == 0


async def test_what_does_not_come_is_asked_of_the_log(bench: Bench) -> None:
    bench.ends.told = {0: 1}
    asked = asyncio.create_task(bench.reader.find_strongly("a", 0.01))
    await asyncio.sleep(0.1)
    assert not asked.done()
    assert bench.ends.asked == 1
    bench.comes("b")
    assert await asyncio.wait_for(asked, 5) is None


async def test_what_comes_is_found_though_the_log_goes_on(bench: Bench) -> None:
    bench.ends.told = {0: 1_000}
    asked = asyncio.create_task(bench.reader.find_strongly("a"))
    await asyncio.sleep(0.05)
    bench.comes("a")
    assert await asyncio.wait_for(asked, 5) is not None
