"""What shadow runs found, as the API tells it: a bounded answer, or a stream of everything."""

import asyncio
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import msgspec

from ingest.replay.comparing import Comparison
from ingest.replay.desk import Replays
from schemas.errors import BrokerUnavailableError, ReplayConflictError, UnavailableError
from schemas.replay import ReplayView
from schemas.replay_diff import ReplayDiff, ShadowDifference
from schemas.settings import Settings

_NEWLINE: Final = b"\n"


class Comparisons:
    """Answers what differs. Nothing is kept: each answer is read from the log.

    Blocking: never; the reads happen in one thread, some records of one answer after some of another's.

    Raises:
        AdmissionError: (every method) there is no such replay, or it is no shadow, or the log cannot be read now.
    """

    def __init__(self, settings: Settings, replays: Replays) -> None:
        self._settings = settings
        self._replays = replays
        self._thread = ThreadPoolExecutor(1, "replay-diff")

    def close(self) -> None:
        """Let go of the thread. Blocking: until what it is at has ended."""
        self._thread.shutdown(cancel_futures=True)

    async def page(self, replay_id: str, limit: int) -> ReplayDiff:
        """Every count, and the first ``limit`` tasks that differ."""
        shadow, comparison = await self._begin(replay_id)
        listed: list[ShadowDifference] = []
        async for chunk in self._chunks(comparison):
            listed += chunk[: limit - len(listed)]
        return self._answer(shadow, comparison, listed)

    async def lines(self, replay_id: str) -> AsyncGenerator[bytes]:
        """Each task that differs as a line of JSON, then the counts. Returns once the log has answered.

        A stream that ends without the counts broke off.
        """
        shadow, comparison = await self._begin(replay_id)
        chunks = self._chunks(comparison)
        first = await anext(chunks)

        async def lines() -> AsyncGenerator[bytes]:
            try:
                yield _lines(first)
                async for chunk in chunks:
                    yield _lines(chunk)
                answer = self._answer(shadow, comparison, [])
                yield _lines([msgspec.structs.replace(answer, complete=True)])
            finally:
                await chunks.aclose()

        return lines()

    async def _begin(self, replay_id: str) -> tuple[ReplayView, Comparison]:
        shadow = await self._replays.find(replay_id)
        if not shadow.shadow:
            raise ReplayConflictError("it is no shadow replay, so there is nothing to compare", id=replay_id)
        return shadow, Comparison(self._settings, shadow.id, shadow.created_at, shadow.counts.replayed)

    async def _chunks(self, comparison: Comparison) -> AsyncGenerator[list[ShadowDifference]]:
        loop = asyncio.get_running_loop()
        chunks = comparison.differences()
        try:
            while (chunk := await loop.run_in_executor(self._thread, next, chunks, None)) is not None:
                yield chunk
        except BrokerUnavailableError as error:
            raise UnavailableError(str(error)) from error
        finally:
            # It may still be at what was asked last.
            await asyncio.shield(loop.run_in_executor(self._thread, chunks.close))

    @staticmethod
    def _answer(shadow: ReplayView, comparison: Comparison, listed: list[ShadowDifference]) -> ReplayDiff:
        counts = comparison.counts
        return ReplayDiff(
            id=shadow.id,
            state=shadow.state,
            counts=counts,
            complete=len(listed) == counts.different,
            differences=listed,
        )


def _lines(told: list[ShadowDifference] | list[ReplayDiff]) -> bytes:
    return b"".join(msgspec.json.encode(each) + _NEWLINE for each in told)
