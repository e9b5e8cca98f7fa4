"""Where the log ends, asked of the broker for everybody who wants to know at once."""

import asyncio
from collections.abc import Iterable
from typing import Final

from laneway.kafka.offsets import LATEST, OffsetAsker, Place
from schemas.errors import BrokerUnavailableError
from schemas.settings import Settings

_WITHIN: Final = 5.0
"""Seconds: as long as a submission waits by default, and mostly as a fail-over takes: four where the cluster is set as
ours, six where the dead broker was the active controller, too."""


class LogEnds:
    """End offsets of topics that have as many partitions as the settings say.

    Ordering: an answer is never older than the question: who asks while a request is under way gets the next one,
        shared with all who asked meanwhile. A thousand questions at once are two requests.
    """

    def __init__(self, settings: Settings, topics: Iterable[str]) -> None:
        self._places = [(topic, number) for topic in topics for number in range(settings.kafka.partitions)]
        self._asker = OffsetAsker(settings, "laneway-ends")
        self._running: asyncio.Task[dict[Place, int]] | None = None
        self._next: asyncio.Task[dict[Place, int]] | None = None

    async def ask(self) -> dict[Place, int]:
        """End offset of every partition, as it is at some moment after the call.

        Raises:
            BrokerUnavailableError: the broker does not answer within 5 s, or a partition has no leader for that long.
        """
        if self._next is None:
            self._next = asyncio.create_task(self._after(self._running))
            # Whoever asked may be gone before the answer; an error that nobody hears is no news.
            self._next.add_done_callback(lambda task: task.cancelled() or task.exception())
        return await asyncio.shield(self._next)

    async def close(self) -> None:
        """Give up what is under way."""
        self._asker.close()
        for task in (self._running, self._next):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    async def _after(self, previous: "asyncio.Task[dict[Place, int]] | None") -> dict[Place, int]:
        if previous is not None:
            await asyncio.wait([previous])
        self._running, self._next = self._next, None
        return await asyncio.to_thread(self._request)

    def _request(self) -> dict[Place, int]:
        try:
            return self._asker.ask(self._places, LATEST, within=_WITHIN)
        except BrokerUnavailableError as error:
            raise BrokerUnavailableError(f"the broker does not tell where the log ends: {error}") from error
