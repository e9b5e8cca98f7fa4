"""How earlier generations of a task ended, out of the log: a status tells of the present one alone."""

from datetime import timedelta
from typing import Final

from laneway.kafka.scan import KeyScanner
from schemas.codec import decode
from schemas.errors import (
    BrokerUnavailableError,
    GenerationNotFoundError,
    ResultGoneError,
    UnavailableError,
    UndecodableRecordError,
)
from schemas.outcome import Outcome
from schemas.settings import Settings
from schemas.status import Status
from schemas.topics import TASK_RETENTION, Topics, partition_of

_CLOCKS_DIFFER: Final = timedelta(seconds=10)
_MOST_READ: Final = 1_000_000
"""Records of a partition that one question reads through: some seconds."""


class PastResults:
    """Finds outcomes in ``results.<type>``."""

    def __init__(self, settings: Settings) -> None:
        self._topics = Topics(settings.kafka.topic_prefix)
        self._partitions = settings.kafka.partitions
        self._scanner = KeyScanner(settings, self._topics.events, "laneway-results-scan")

    def close(self) -> None:
        """Let go of the log. Blocking: until what is under way has ended."""
        self._scanner.close()

    async def find(self, status: Status, generation: int) -> Outcome:
        """How a generation before that of ``status`` ended.

        Raises:
            GenerationNotFoundError: there was none of this number.
            ResultGoneError: there was, and its outcome is past retention.
            UnavailableError: the log cannot be read now.
        """
        if not 1 <= generation < status.generation:
            raise GenerationNotFoundError(
                f"the task has no generation {generation}; its latest is {status.generation}",
                id=status.id,
                generation=status.generation,
            )
        number = partition_of(status.ordering_key or status.id, self._partitions)
        # Any time after its acceptance, and before its present generation began.
        since, until = status.created_at - _CLOCKS_DIFFER, (status.started_at or status.updated_at) + _CLOCKS_DIFFER
        topic = self._topics.results(status.type)
        try:
            found = await self._scanner.read(
                number, status.id.encode(), since, until, [status.created_at], _MOST_READ, topic=topic
            )
        except BrokerUnavailableError as error:
            raise UnavailableError("the log of results cannot be read now") from error
        for record in found.records:
            try:
                outcome = decode(record.value, Outcome)
            except UndecodableRecordError:
                continue
            if outcome.id == status.id and outcome.generation == generation:
                return outcome
        busy = "" if found.complete else ", or too much was told meanwhile to look through all of it"
        raise ResultGoneError(
            f"how generation {generation} ended is not in the log any more{busy};"
            f" results are kept for {TASK_RETENTION.days} days",
            id=status.id,
            generation=generation,
        )
