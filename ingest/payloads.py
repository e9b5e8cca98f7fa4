"""The payload of a task, out of the log: statuses do not carry it."""

from datetime import datetime, timedelta
from typing import Final

from laneway.kafka.scan import KeyScanner
from schemas.codec import decode
from schemas.errors import BrokerUnavailableError, UnavailableError, UndecodableRecordError
from schemas.settings import Settings
from schemas.status import State, Status
from schemas.task import Lane, Task
from schemas.topics import RUNGS, Topics, partition_of, rung_for

_CLOCKS_DIFFER: Final = timedelta(seconds=10)
_MOST_READ: Final = 50_000


class Payloads:
    """Finds tasks' records where their statuses say that they lie.

    Raises:
        UnavailableError: (every method) the log cannot be read now.
    """

    def __init__(self, settings: Settings) -> None:
        self._topics = Topics(settings.kafka.topic_prefix)
        self._partitions = settings.kafka.partitions
        self._scanner = KeyScanner(settings, self._topics.events, "laneway-payloads")

    def close(self) -> None:
        """Let go of the log."""
        self._scanner.close()

    async def find(self, status: Status) -> bytes | None:
        """The JSON of the payload; ``None`` where the log does not have it any more, or not where it was looked for."""
        number = partition_of(status.ordering_key or status.id, self._partitions)
        for topic, key, moments in self._places(status):
            since, until = moments[0] - _CLOCKS_DIFFER, moments[-1] + _CLOCKS_DIFFER
            try:
                found = await self._scanner.read(number, key.encode(), since, until, moments, _MOST_READ, topic=topic)
            except BrokerUnavailableError as error:
                raise UnavailableError("the log cannot be read now") from error
            for _, value in found.records:
                try:
                    task = decode(value, Task)
                except UndecodableRecordError:
                    continue  # what is no task shares the key by accident
                if task.id == status.id:
                    return bytes(task.payload)
        return None

    def _places(self, status: Status) -> list[tuple[str, str, list[datetime]]]:
        """Topics, keys and times to look at, the likeliest first."""
        accepted = status.created_at
        lane = (
            self._topics.lane(Lane(status.type, status.priority)),
            status.ordering_key or status.id,
            sorted({accepted, status.started_at or accepted}),
        )
        rung = rung_for(status.not_before - accepted) if status.not_before is not None else None
        waits = [(self._topics.retry(rung), status.id, [accepted])] if rung in RUNGS else []
        return [*waits, lane] if status.state is State.SCHEDULED else [lane, *waits]
