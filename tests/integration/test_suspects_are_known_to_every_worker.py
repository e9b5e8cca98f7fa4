"""A suspect that one worker tells of is known to whoever takes over its partition, until its task has ended."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from laneway.kafka.producer import RecordProducer
from schemas.settings import Settings
from schemas.suspect import Suspect
from streams.suspect_log import SuspectLog
from streams.suspect_reader import SuspectReader
from streams.suspects import Suspects, SuspectsFile


def _suspect(task_id: str, partition: int, crashes: int = 1) -> Suspect:
    return Suspect(
        id=task_id,
        generation=1,
        type="test.echo",
        partition=partition,
        crashes=crashes,
        how="signal SIGSEGV",
        at=datetime.now(UTC),
        worker="w-1",
    )


async def test_by_the_topic(settings: Settings, topics_applied: Callable[..., object], tmp_path: Path) -> None:
    topics_applied("test.echo")
    first, second = _suspect("a", 0), _suspect("b", 3)
    file = SuspectsFile(tmp_path / "w.suspects")
    file.add([first, second])
    producer = RecordProducer(settings, "w-1")
    log, known = SuspectLog(settings, producer, "w-1"), Suspects()
    reader = SuspectReader(settings)
    try:
        await log.take_over(file, known)
        assert file.read() == []
        assert known.find("a", 1) == first
        assert await asyncio.to_thread(reader.read, range(4)) == [first, second]
        assert await asyncio.to_thread(reader.read, [1, 2]) == []
        twice = known.crashed(first, "exit code 3")
        await log.tell([twice])
        await log.tell([second], ended=True)
        assert await asyncio.to_thread(reader.read, range(4)) == [twice]
    finally:
        reader.close()
        await producer.close()
