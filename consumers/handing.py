"""The loop that hands outcomes to a handler: one of each partition at a time, with retries beside it."""

import asyncio
import contextvars
import inspect
import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from datetime import timedelta
from typing import Final

import structlog

from consumers.aside import Aside, Failure
from consumers.prefix import Prefix
from consumers.reader import Offsets, Received, Start, TopicReader
from laneway.kafka.clients import message_headers
from laneway.kafka.producer import RecordProducer
from schemas.codec import decode
from schemas.errors import BrokerUnavailableError, UndecodableRecordError
from schemas.headers import AGAIN, MAX_ERRORS, header
from schemas.outcome import Outcome
from schemas.retry import DeadLetter, Retry, RetryPolicy, describe, verdict
from schemas.status import ErrorInfo
from schemas.topics import position

log = structlog.get_logger(__name__)

PENDING: Final = 500
"""Outcomes of a partition from its first open one on, from which on no more of it are fetched."""
REMEMBERED: Final = 100_000
"""Outcomes that are done by which a repetition is recognised; about 20 MB."""
_PUBLISH_PAUSE: Final = RetryPolicy(first_delay=timedelta(seconds=0.5), max_delay=timedelta(seconds=15))


class _Work:
    """An outcome on its way through the handler."""

    __slots__ = ("errors", "key", "outcome", "received", "tries")

    def __init__(self, received: Received, outcome: Outcome | None, key: str) -> None:
        self.received = received
        self.outcome = outcome
        """``None`` for a record that is none."""
        self.key = key
        self.tries = 1
        """Number of the try that comes next, or runs."""
        self.errors: list[ErrorInfo] = []

    @property
    def offset(self) -> int:
        """Of its record."""
        return self.received.message.offset() or 0

    @property
    def pair(self) -> tuple[str, int] | None:
        """What tells outcomes from their repetitions."""
        return None if self.outcome is None else (self.outcome.id, self.outcome.generation)


class _Part:
    """One partition during one assignment."""

    def __init__(self, reader: TopicReader, assignment: int) -> None:
        self.reader = reader
        self.assignment = assignment
        self.prefix: Prefix[Received] = Prefix()
        self.ready: deque[_Work] = deque()
        self.behind: dict[str, deque[_Work]] = {}
        """Keys of which one is ready, runs or waits for its next try, each with those that come after it."""
        self.open: set[tuple[str, int]] = set()
        """Of outcomes that are not done."""
        self.busy = False


class Handing:
    """Hands the outcomes of a type to a handler; ``consume`` says what holds.

    Two readers feed it: of the type's results, as a member of the group, and of what the group has set aside, where
    operators ask for outcomes to be handled again.

    Args:
        aside: where failures go; says which type and group.
        handler: gets each outcome.
        retry: how often and how late.
        concurrency: handlers at a time.
        start: where to begin without a commit.
        follow: ``False`` ends at the present end.
    """

    def __init__(
        self,
        aside: Aside,
        handler: Callable[[Outcome], object],
        *,
        retry: RetryPolicy,
        concurrency: int,
        start: Start | Offsets,
        follow: bool,
    ) -> None:
        self._aside = aside
        self._handler = handler
        self._awaited = inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(
            getattr(handler, "__call__", None)  # noqa: B004  (an object with an async __call__)
        )
        self._retry = retry
        self._concurrency = concurrency
        self._start = start
        self._follow = follow
        self._parts: dict[tuple[int, int], _Part] = {}
        """By reader and partition; whose turn it was longest ago comes first."""
        self._done: OrderedDict[tuple[str, int], None] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()
        self._news = asyncio.Event()
        self._stopping = False
        self._closing = False
        self._error: BaseException | None = None

    def stop(self) -> None:
        """Begin no handler any more; ``run`` returns when those that run have ended. Belongs to the loop."""
        self._stopping = True
        self._news.set()

    async def run(self) -> None:
        """Hand out outcomes until told to stop, or until the end where that is wanted."""
        await asyncio.to_thread(self._aside.make)
        loop = asyncio.get_running_loop()
        readers: list[TopicReader] = []

        def wake() -> None:
            try:
                loop.call_soon_threadsafe(self._news.set)
            except RuntimeError:  # the loop is closed: nobody waits any more
                for reader in readers:
                    reader.request_close()

        self._producer = RecordProducer(self._aside.settings, "laneway-aside")
        try:
            readers += self._aside.results(self._start, self._follow, wake), self._aside.asked(self._follow, wake)
            for reader in readers:
                reader.begin()
            while not self._over(readers):
                # Cleared first: what comes in from here on sets it again, so that nothing is left lying.
                self._news.clear()
                if not self._stopping:
                    for number, reader in enumerate(readers):
                        self._take(number, reader)
                    self._begin()
                await self._news.wait()
        finally:
            self._closing = True
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await asyncio.gather(*(asyncio.to_thread(reader.close) for reader in readers), self._producer.close())

    def _over(self, readers: list[TopicReader]) -> bool:
        if self._error is not None:
            raise self._error
        if self._tasks:
            return False
        open_parts = any(len(part.prefix) for part in self._parts.values())
        return self._stopping or (all(reader.ended for reader in readers) and not open_parts)

    def _take(self, number: int, reader: TopicReader) -> None:
        """Take everything that was fetched, and say of which partitions that is enough."""
        while received := reader.take():
            part = self._parts.get((number, received.partition))
            if part is None or part.assignment != received.assignment:
                part = self._parts[number, received.partition] = _Part(reader, received.assignment)
            self._admit(part, received)
        for (owner, partition), part in list(self._parts.items()):
            if owner == number and not reader.still(partition, part.assignment):
                # Another member reads from the first open one on; what waits here for its next try never gets it.
                del self._parts[owner, partition]
        reader.held = frozenset(
            partition
            for (owner, partition), part in self._parts.items()
            if owner == number and len(part.prefix) >= (PENDING // 2 if partition in reader.held else PENDING)
        )

    def _admit(self, part: _Part, received: Received) -> None:
        message = received.message
        offset = message.offset() or 0
        if not part.prefix.deliver(offset, received):
            return
        asked = part.reader.topic == self._aside.topic
        if asked and header(message_headers(message), AGAIN) is None:
            self._settle(part, offset)
            return
        try:
            outcome = decode(message.value(), Outcome)
        except UndecodableRecordError as error:
            work = _Work(received, None, f"@{offset}")
            work.errors.append(describe(error))
        else:
            work = _Work(received, outcome, outcome.ordering_key or outcome.id)
            pair = outcome.id, outcome.generation
            # One that is asked for again was done here, perhaps.
            if pair in part.open or (pair in self._done and not asked):
                self._settle(part, offset)
                return
            part.open.add(pair)
        before = part.behind.get(work.key)
        if before is None:
            part.behind[work.key] = deque()
            part.ready.append(work)
        else:
            before.append(work)

    def _begin(self) -> None:
        for place, part in list(self._parts.items()):
            if len(self._tasks) >= self._concurrency:
                return
            if part.busy or not part.ready:
                continue
            self._parts[place] = self._parts.pop(place)
            part.busy = True
            task = asyncio.get_running_loop().create_task(self._handle(part, part.ready.popleft()))
            self._tasks.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._error = self._error or error
        self._news.set()

    async def _handle(self, part: _Part, work: _Work) -> None:
        try:
            # Of a partition that has gone its new owner reads it again.
            if part.reader.owns(work.received) and await self._try(part, work):
                self._finish(part, work)
        finally:
            part.busy = False

    async def _try(self, part: _Part, work: _Work) -> bool:
        """Whether the outcome is done: handled or set aside."""
        if work.outcome is None:
            return await self._set_aside(part, work, "undecodable")
        try:
            await self._call(work.outcome)
        except asyncio.CancelledError as error:
            if self._closing:
                raise
            failure: BaseException = error  # the handler's own
        except Exception as error:  # noqa: BLE001  (the boundary of a try)
            failure = error
        else:
            return True
        what = verdict(failure, attempt=work.tries, max_attempts=self._retry.max_attempts, policy=self._retry)
        where = position(part.reader.topic, work.received.partition, work.offset)
        told = {"id": work.outcome.id, "position": where, "try_": work.tries, "why": what.error.message}
        work.errors = [*work.errors, what.error][-MAX_ERRORS:]
        if isinstance(what, Retry):
            log.info("outcome not handled; it is tried again", seconds=round(what.delay.total_seconds(), 3), **told)
            work.tries += what.spends_attempt
            asyncio.get_running_loop().call_later(what.delay.total_seconds(), self._again, part, work)
            return False
        log.warning("outcome not handled; it is set aside", exc_info=failure, **told)
        return await self._set_aside(part, work, what.reason if isinstance(what, DeadLetter) else "rejected")

    def _again(self, part: _Part, work: _Work) -> None:
        part.ready.appendleft(work)
        self._news.set()

    async def _set_aside(self, part: _Part, work: _Work, reason: str) -> bool:
        """Put the record where failures lie; ``False`` where that could not be before the end."""
        where = position(part.reader.topic, work.received.partition, work.offset)
        record = self._aside.record(
            work.received.message, Failure(reason, work.errors[-1], tuple(work.errors), work.tries, where)
        )
        tries = 0
        while True:
            try:
                await self._producer.send([record])
            except BrokerUnavailableError as error:
                tries += 1
                if self._stopping or not part.reader.owns(work.received):
                    return False
                log.warning("outcome could not be set aside; trying again", position=where, why=str(error))
                await asyncio.sleep(_PUBLISH_PAUSE.backoff(tries).total_seconds())
            else:
                return True

    def _finish(self, part: _Part, work: _Work) -> None:
        pair = work.pair
        if pair is not None:
            part.open.discard(pair)
            self._done[pair] = None
            if len(self._done) > REMEMBERED:
                self._done.popitem(last=False)
        behind = part.behind[work.key]
        if behind:
            part.ready.append(behind.popleft())
        else:
            del part.behind[work.key]
        self._settle(part, work.offset)

    @staticmethod
    def _settle(part: _Part, offset: int) -> None:
        newest = part.prefix.done(offset)
        if newest is not None:
            part.reader.finish(newest)

    async def _call(self, outcome: Outcome) -> None:
        answer = self._handler(outcome) if self._awaited else await self._in_thread(outcome)
        if inspect.isawaitable(answer):
            await answer

    async def _in_thread(self, outcome: Outcome) -> object:
        """Call the handler in a thread that does not hold up the end of the process."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[object] = loop.create_future()
        context = contextvars.copy_context()

        def tell(answer: object, error: BaseException | None) -> None:
            if future.done():  # nobody waits any more
                return
            if error is None:
                future.set_result(answer)
            else:
                # A future does not take it.
                future.set_exception(RuntimeError(repr(error)) if isinstance(error, StopIteration) else error)

        def call() -> None:
            answer: object = None
            failure: BaseException | None = None
            try:
                answer = context.run(self._handler, outcome)
            except BaseException as error:  # noqa: BLE001  (told to whoever waits)
                failure = error
            try:
                loop.call_soon_threadsafe(tell, answer, failure)
            except RuntimeError:
                log.warning("a handler ended after the loop had", id=outcome.id)

        threading.Thread(target=call, name=f"handle-{outcome.id}", daemon=True).start()
        return await future
