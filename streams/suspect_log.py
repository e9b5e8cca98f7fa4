"""Suspects in the log: whoever gets the partition knows whom to run alone, whichever worker crashed."""

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

import msgspec
import structlog

from laneway.kafka.records import OutgoingRecord, RecordSink
from schemas.errors import TransportError
from schemas.headers import cloud_event, timestamp
from schemas.settings import Settings
from schemas.suspect import Suspect
from schemas.topics import Topics
from streams.suspects import Suspects, SuspectsFile

log = structlog.get_logger(__name__)

_AGAIN_AFTER: Final = 0.5


class SuspectLog:
    """Tells the topic ``suspects`` of the suspects that a worker knows.

    Delivery: what could not be told is told again until it could; a suspect that nobody knows of is one that crashes
        a worker once more.
    """

    def __init__(self, settings: Settings, producer: RecordSink, worker: str) -> None:
        self._topic = Topics(settings.kafka.topic_prefix).suspects
        self._producer = producer
        self._source = f"/laneway/worker/{worker}".encode()

    async def tell(self, suspects: Iterable[Suspect], *, ended: bool = False) -> None:
        """Tell of them; ``ended`` tells that they are done with. Returns once every in-sync replica knows."""
        records = [self._record(suspect, ended=ended) for suspect in suspects]
        while records:
            try:
                await self._producer.send(records)
            except TransportError as error:
                log.warning("suspects not told yet, tried again", suspects=len(records), said=str(error))
                await asyncio.sleep(_AGAIN_AFTER)
            else:
                return

    async def take_over(self, file: SuspectsFile | None, suspects: Suspects) -> None:
        """Learn of those that the forerunner of this process left, and tell of them; before any lane is joined."""
        found = file.read() if file is not None else []
        if file is None or not found:
            return
        suspects.add(found)
        await self.tell(found)
        file.clear()
        log.info("suspects of a crash will run alone", suspects=len(found), how=found[0].how)

    def _record(self, suspect: Suspect, *, ended: bool) -> OutgoingRecord:
        event_id = f"{suspect.id}.{suspect.generation}.suspect.{suspect.crashes}{'.ended' if ended else ''}"
        headers = cloud_event("suspect", event_id, self._source, timestamp(datetime.now(UTC)))
        value = None if ended else msgspec.json.encode(suspect)
        return OutgoingRecord(self._topic, suspect.partition, suspect.id.encode(), value, headers)
