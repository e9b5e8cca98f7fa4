"""Outcomes as a stream, for downstream services."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator
from datetime import datetime
from types import TracebackType
from typing import Final, Self

import structlog

from consumers.reader import Received, Start, TopicReader
from schemas.codec import decode
from schemas.errors import UndecodableRecordError
from schemas.outcome import Outcome
from schemas.settings import Settings, load_settings
from schemas.topics import Topics, position

log = structlog.get_logger(__name__)

REMEMBERED: Final = 100_000
"""Outcomes by which one iterator recognises a repetition; about 20 MB."""


def results(
    type_name: str,
    *,
    group: str | None,
    settings: Settings | None = None,
    start: Start | None = None,
    follow: bool = True,
) -> "Results":
    """The outcomes of a task type, to be looped over.

        async for outcome in results("billing.invoice", group="ledger"):
            await book(outcome.id, outcome.value)

    Delivery: at least once. An outcome counts as done when the next one is asked for; what is done is committed within
        a second, when the partition goes to another member of the group, and when the loop ends. A body that raises
        leaves its outcome undone, and so does a ``break``, which looks the same from here: whoever reads the group
        next sees it again. Used as ``async with results(…) as outcomes``, an orderly end of the block, ``break``
        included, makes the last one done, too.
        Repetitions of one (task id, generation) are dropped as long as they are among the last 100,000 outcomes that
        this iterator has given. It forgets them when it ends, so give the pair to whatever must happen once.
        A record that is no outcome is logged and passed over.
    Ordering: outcomes of tasks with one partition (the same ordering key) come in the order in which they ended.
    Blocking: never; reading goes on in a thread while the body works, however long that takes.

    Args:
        type_name: such as ``billing.invoice``.
        group: members of one group share the outcomes, and a group goes on where it was. It is the name as Kafka has
            it, without our prefix. ``None`` reads everything alone and remembers nothing.
        settings: which cluster and prefix; read from the environment unless given.
        start: where to begin in partitions for which the group has nothing committed: ``"earliest"`` (the default),
            ``"latest"``, a time (the first outcome published at or after it) or an offset in each partition.
        follow: ``False`` ends at the present end instead of waiting for more.

    Raises:
        ConfigurationError: (in the loop) there is no such topic, or the settings cannot be.
        BrokerUnavailableError: (in the loop) no broker answers at the start, or it refuses this reader. One that is
            away later is waited for.
        ValueError: ``start`` is a time without a zone or a negative offset.
    """
    if isinstance(start, datetime) and start.tzinfo is None:
        raise ValueError(f"results: start is {start}, a time without a zone; want an aware datetime")
    if isinstance(start, int) and start < 0:
        raise ValueError(f"results: start is {start}; an offset is zero or more")
    return Results(type_name, group, settings or load_settings(), "earliest" if start is None else start, follow)


class Results:
    """What ``results`` answers: an asynchronous iterable, and a block that ends it in order."""

    def __init__(self, type_name: str, group: str | None, settings: Settings, start: Start, follow: bool) -> None:
        self._topic = Topics(settings.kafka.topic_prefix).results(type_name)
        self._group = group
        self._settings = settings
        self._start = start
        self._follow = follow
        self._seen: OrderedDict[tuple[str, int], None] = OrderedDict()
        self._outcomes: AsyncGenerator[Outcome, None] | None = None
        self._reader: TopicReader | None = None
        self._unfinished: tuple[Received, Outcome] | None = None

    def __aiter__(self) -> AsyncGenerator[Outcome, None]:
        if self._outcomes is None:
            self._outcomes = self._read()
        return self._outcomes

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            self._finish()
        if self._outcomes is not None:
            await self._outcomes.aclose()

    async def _read(self) -> AsyncGenerator[Outcome, None]:
        loop = asyncio.get_running_loop()
        news = asyncio.Event()

        def wake() -> None:
            try:
                loop.call_soon_threadsafe(news.set)
            except RuntimeError:  # the loop is closed: nobody waits any more
                reader.request_close()

        reader = self._reader = TopicReader(
            self._topic,
            group=self._group,
            start=self._start,
            follow=self._follow,
            settings=self._settings,
            wake=wake,
        )
        reader.begin()
        try:
            while True:
                # Cleared first: what comes in from here on sets it again, so that nothing is left lying.
                news.clear()
                received = reader.take()
                if received is None:
                    if reader.ended:
                        return
                    await news.wait()
                    continue
                outcome = self._admit(received)
                if outcome is not None:
                    self._unfinished = received, outcome
                    yield outcome
                    self._finish()
        finally:
            await asyncio.to_thread(reader.close)

    def _admit(self, received: Received) -> Outcome | None:
        """The record's outcome, or ``None`` for what nobody needs to see."""
        message, reader = received.message, self._reader
        try:
            outcome = decode(message.value(), Outcome)
        except UndecodableRecordError as error:
            where = position(self._topic, received.partition, message.offset() or 0)
            log.warning("record passed over: it is no outcome", position=where, why=str(error))
        else:
            if (outcome.id, outcome.generation) not in self._seen:
                return outcome
        if reader is not None:
            reader.finish(received)
        return None

    def _finish(self) -> None:
        """The body is done with the latest outcome."""
        if self._unfinished is None or self._reader is None:
            return
        (received, outcome), self._unfinished = self._unfinished, None
        self._seen[outcome.id, outcome.generation] = None
        if len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)
        self._reader.finish(received)
