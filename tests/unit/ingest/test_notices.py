"""Every reader of the view hears of a change at once; readers that are gone cost nothing."""

import os
from pathlib import Path

from ingest.view.notices import NoticeReader, NoticeWriter
from tests.support.waiting import eventually


async def test_readers_come_and_go(tmp_path: Path) -> None:
    heard = [0, 0]

    def hear(place: int) -> None:
        heard[place] += 1

    writer = NoticeWriter(tmp_path)
    writer.send()  # nobody is there, nor is the folder
    first, second = NoticeReader(tmp_path, lambda: hear(0)), NoticeReader(tmp_path, lambda: hear(1))
    first.open()
    writer.send()
    await eventually(lambda: heard == [1, 0], within=5, what="a notice for the first")
    second.open()
    writer.send()
    await eventually(lambda: heard == [2, 1], within=5, what="a notice for both")
    first.close()
    writer.send()
    await eventually(lambda: heard == [2, 2], within=5, what="a notice for the second")
    second.close()
    writer.send()
    assert list((tmp_path / "readers").iterdir()) == []
    writer.close()


async def test_a_killed_readers_pipe_is_removed(tmp_path: Path) -> None:
    (tmp_path / "readers").mkdir()
    os.mkfifo(tmp_path / "readers" / "1-dead")  # as a process leaves it that did not come to close it
    writer = NoticeWriter(tmp_path)
    writer.send()
    assert list((tmp_path / "readers").iterdir()) == []
    writer.close()


async def test_a_reader_that_does_not_read_holds_nobody_up(tmp_path: Path) -> None:
    reader = NoticeReader(tmp_path, lambda: None)
    reader.open()
    writer = NoticeWriter(tmp_path)
    for _ in range(100_000):  # more than a pipe holds, in one turn of the loop
        writer.send()
    reader.close()
    writer.close()
