"""Tasks as they were accepted, out of the log: statuses do not carry them."""

from datetime import datetime, timedelta
from typing import Final, NamedTuple

from laneway.kafka.scan import KeyScanner
from schemas.codec import decode
from schemas.errors import BrokerUnavailableError, UnavailableError, UndecodableRecordError
from schemas.settings import Settings
from schemas.status import State, Status
from schemas.task import Lane, Task
from schemas.topics import Topics, partition_of, rung_for

_CLOCKS_DIFFER: Final = timedelta(seconds=10)
_MOST_READ: Final = 50_000


class TaskRecord(NamedTuple):
    """A task's record."""

    value: bytes
    task: Task
    traceparent: bytes | None


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
        found = await self.record(status, any_generation=True)
        return bytes(found.task.payload) if found is not None else None

    async def record(self, status: Status, *, any_generation: bool = False) -> TaskRecord | None:
        """A record of the task, of its status's generation unless said otherwise; ``None`` as in ``find``."""
        number = partition_of(status.ordering_key or status.id, self._partitions)
        for topic, key, moments in self._places(status):
            since, until = moments[0] - _CLOCKS_DIFFER, moments[-1] + _CLOCKS_DIFFER
            try:
                found = await self._scanner.read(number, key.encode(), since, until, moments, _MOST_READ, topic=topic)
            except BrokerUnavailableError as error:
                raise UnavailableError("the log cannot be read now") from error
            for record in found.records:
                try:
                    task = decode(record.value, Task)
                except UndecodableRecordError:
                    continue  # what is no task shares the key by accident
                if task.id == status.id and (any_generation or task.generation == status.generation):
                    return TaskRecord(record.value, task, record.traceparent)
        return None

    def _places(self, status: Status) -> list[tuple[str, str, list[datetime]]]:
        """Topics, keys and times to look at, the likeliest first."""
        accepted = status.created_at
        lane = (
            self._topics.lane(Lane(status.type, status.priority)),
            status.ordering_key or status.id,
            sorted({accepted, status.started_at or accepted, status.updated_at}),
        )
        waits: list[tuple[str, str, list[datetime]]] = []
        if status.not_before is not None:
            # Since it was told to wait, which whoever put it on the ladder looked at a moment later.
            for began in dict.fromkeys((status.updated_at, accepted)):
                wait = status.not_before - began
                rungs = {rung_for(wait), rung_for(wait - _CLOCKS_DIFFER)} - {None}
                waits += [(self._topics.retry(rung), status.id, [began]) for rung in sorted(filter(None, rungs))]
        return [*waits, lane] if status.state is State.SCHEDULED else [lane, *waits]
