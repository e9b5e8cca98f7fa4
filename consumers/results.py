"""Outcomes as a stream, for downstream services."""

import asyncio
import threading
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Generator
from types import TracebackType
from typing import Final, Self

import structlog

from consumers.reader import Offsets, Received, Start, TopicReader, check_start
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
    start: Start | Offsets | None = None,
    follow: bool = True,
) -> "Results":
    """The outcomes of a task type, to be looped over.

        async for outcome in results("billing.invoice", group="ledger"):
            await book(outcome.id, outcome.value)

    Without an event loop the same object serves a plain ``for``, and ``with`` in place of ``async with``. It is looped
    over once, in one way or the other.

    Delivery: at least once. An outcome counts as done when the next one is asked for; what is done is committed within
        a second, when the partition goes to another member of the group, and when the loop ends. A body that raises
        leaves its outcome undone, and so does a ``break``, which looks the same from here: whoever reads the group
        next sees it again. Used as ``async with results(…) as outcomes``, an orderly end of the block, ``break``
        included, makes the last one done, too.
        Repetitions of one (task id, generation) are dropped as long as they are among the last 100,000 outcomes that
        this iterator has given. It forgets them when it ends, so give the pair to whatever must happen once.
        A record that is no outcome is logged and passed over.
    Ordering: outcomes of tasks with one partition (the same ordering key) come in the order in which they ended.
    Blocking: ``async for`` never, ``for`` until there is an outcome. Reading goes on in a thread while the body works,
        however long that takes.

    Args:
        type_name: such as ``billing.invoice``.
        group: members of one group share the outcomes, and a group goes on where it was. It is the name as Kafka has
            it, without our prefix. ``None`` reads everything alone and remembers nothing.
        settings: which cluster and prefix; read from the environment unless given.
        start: where to begin in partitions for which the group has nothing committed: ``"earliest"`` (the default),
            ``"latest"``, a time (the first outcome published at or after it), one offset for every partition, or
            offsets by partition (``{0: 17, 1: 4}``; those left out begin at the oldest outcome).
        follow: ``False`` ends at the present end instead of waiting for more.

    Raises:
        ConfigurationError: (in the loop) there is no such topic, or the settings cannot be.
        BrokerUnavailableError: (in the loop) no broker answers at the start, or it refuses this reader. One that is
            away later is waited for.
        ValueError: ``start`` is a time without a zone or a negative offset.
    """
    check_start(start, "results")
    return Results(type_name, group, settings or load_settings(), "earliest" if start is None else start, follow)


class Results:
    """What ``results`` answers: an iterable, asynchronous or not, and a block that ends it in order."""

    def __init__(
        self, type_name: str, group: str | None, settings: Settings, start: Start | Offsets, follow: bool
    ) -> None:
        self._topic = Topics(settings.kafka.topic_prefix).results(type_name)
        self._group = group
        self._settings = settings
        self._start = start
        self._follow = follow
        self._seen: OrderedDict[tuple[str, int], None] = OrderedDict()
        self._awaited: AsyncGenerator[Outcome, None] | None = None
        self._plain: Generator[Outcome, None, None] | None = None
        self._reader: TopicReader | None = None
        self._unfinished: tuple[Received, Outcome] | None = None

    @property
    def position(self) -> dict[int, int]:
        """Offset of the first outcome that is not done, in each partition that is ours and told where it stands."""
        return {} if self._reader is None else self._reader.position

    @property
    def lag(self) -> int | None:
        """Outcomes in our partitions that are not done, as of the latest fetch; ``None`` while that is not known."""
        return None if self._reader is None else self._reader.lag

    def __aiter__(self) -> AsyncGenerator[Outcome, None]:
        if self._plain is not None:
            raise RuntimeError("results: it is looped over by `for` already; call results() again")
        if self._awaited is None:
            self._awaited = self._read()
        return self._awaited

    def __iter__(self) -> Generator[Outcome, None, None]:
        if self._awaited is not None:
            raise RuntimeError("results: it is looped over by `async for` already; call results() again")
        if self._plain is None:
            self._plain = self._read_plainly()
        return self._plain

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            self._finish()
        if self._awaited is not None:
            await self._awaited.aclose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            self._finish()
        if self._plain is not None:
            self._plain.close()

    def _open(self, wake: Callable[[], None]) -> TopicReader:
        self._reader = TopicReader(
            self._topic,
            group=self._group,
            start=self._start,
            follow=self._follow,
            settings=self._settings,
            wake=wake,
        )
        self._reader.begin()
        return self._reader

    async def _read(self) -> AsyncGenerator[Outcome, None]:
        loop = asyncio.get_running_loop()
        news = asyncio.Event()

        def wake() -> None:
            try:
                loop.call_soon_threadsafe(news.set)
            except RuntimeError:  # the loop is closed: nobody waits any more
                if self._reader is not None:
                    self._reader.request_close()

        reader = self._open(wake)
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
                    yield outcome
                    self._finish()
        finally:
            await asyncio.to_thread(reader.close)

    def _read_plainly(self) -> Generator[Outcome, None, None]:
        news = threading.Event()
        reader = self._open(news.set)
        try:
            while True:
                news.clear()
                received = reader.take()
                if received is None:
                    if reader.ended:
                        return
                    news.wait()
                    continue
                outcome = self._admit(received)
                if outcome is not None:
                    yield outcome
                    self._finish()
        finally:
            reader.close()

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
                self._unfinished = received, outcome
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
