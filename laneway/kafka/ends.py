"""Where the log ends, asked of the broker for everybody who wants to know at once."""

import asyncio
from typing import Final

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from laneway.kafka.clients import client_config
from schemas.errors import BrokerUnavailableError
from schemas.settings import Settings

REQUEST_TIMEOUT: Final = 3.0


class LogEnds:
    """End offsets of one topic.

    Ordering: an answer is never older than the question: who asks while a request is under way gets the next one,
        shared with all who asked meanwhile. A thousand questions at once are two requests.
    """

    def __init__(self, settings: Settings, topic: str) -> None:
        latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]
        self._question = {TopicPartition(topic, each): latest for each in range(settings.kafka.partitions)}
        self._config = client_config(settings, "laneway-ends")
        self._client = AdminClient(self._config)
        self._running: asyncio.Task[dict[int, int]] | None = None
        self._next: asyncio.Task[dict[int, int]] | None = None

    async def ask(self) -> dict[int, int]:
        """End offset of every partition, as it is at some moment after the call.

        Raises:
            BrokerUnavailableError: the broker does not answer.
        """
        if self._next is None:
            self._next = asyncio.create_task(self._after(self._running))
            # Whoever asked may be gone before the answer; an error that nobody hears is no news.
            self._next.add_done_callback(lambda task: task.cancelled() or task.exception())
        return await asyncio.shield(self._next)

    async def close(self) -> None:
        """Give up what is under way."""
        for task in (self._running, self._next):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    async def _after(self, previous: "asyncio.Task[dict[int, int]] | None") -> dict[int, int]:
        if previous is not None:
            await asyncio.wait([previous])
        self._running, self._next = self._next, None
        return await asyncio.to_thread(self._request)

    def _request(self) -> dict[int, int]:
        try:
            answers = self._client.list_offsets(self._question, request_timeout=REQUEST_TIMEOUT)
            return {
                partition.partition: answer.result(REQUEST_TIMEOUT + 1).offset for partition, answer in answers.items()
            }
        except (KafkaException, TimeoutError) as error:
            # The client keeps the leaders that it once learned: after a fail-over it would ask the wrong ones for ever.
            self._client = AdminClient(self._config)
            raise BrokerUnavailableError(f"the broker does not tell where the log ends: {error}") from error
