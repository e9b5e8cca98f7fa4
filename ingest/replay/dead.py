"""Dead letters: listed, grouped by error, shown."""

import asyncio
import contextlib
import heapq
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, cast

import msgspec
from confluent_kafka import Message

from ingest.replay.choosing import Chooser, Past, error_of, set_aside_at
from ingest.replay.reading import PastRanges, PastReader
from ingest.replay.statuses import Known, Statuses
from schemas import headers as names
from schemas.dead_letters import DeadLetter, DeadLetterGroup, DeadLetterPage
from schemas.errors import BrokerUnavailableError, MalformedRequestError, TaskNotFoundError, UnavailableError
from schemas.headers import header
from schemas.replay import Selection, Source, SourceRange
from schemas.settings import Settings
from schemas.status import ErrorInfo, State
from schemas.topics import DEAD_LETTERS_SUFFIX, Topics, position

_MOST: Final = 200_000
"""Records that one question reads at most."""
_MOST_GROUPS: Final = 500
_BATCH: Final = 1_000
_POSITION: Final = re.compile(r"(?P<topic>.+)-(?P<partition>\d{1,9})@(?P<offset>\d{1,18})")
_ERRORS: Final = msgspec.json.Decoder(list[ErrorInfo])
_SHOWN: Final = 100_000
"""Characters of a record that is no task."""


class DeadLetters:
    """Answers from the dead letters themselves.

    Raises:
        UnavailableError: (every method) the log or the view cannot be asked now.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._topics = Topics(settings.kafka.topic_prefix)
        self._reading = asyncio.Semaphore(1)

    async def page(self, select: Selection, limit: int) -> DeadLetterPage:
        """The newest that are selected, and how many there are of each error."""
        async with self._reading:
            try:
                return await asyncio.to_thread(self._page, select, limit)
            except BrokerUnavailableError as error:
                raise UnavailableError(str(error)) from error

    async def show(self, at: str) -> DeadLetter:
        """One, with its payload and its headers.

        Raises:
            MalformedRequestError: no position.
            TaskNotFoundError: no dead letter lies there.
        """
        found = _POSITION.fullmatch(at)
        if found is None:
            raise MalformedRequestError(f"{at[:80]!r}: want topic-partition@offset, as listings tell it")
        offset = int(found["offset"])
        mine = found["topic"].startswith(self._topics.task_topics) and found["topic"].endswith(DEAD_LETTERS_SUFFIX)
        select = Selection(offsets={f"{found['topic']}-{found['partition']}": (offset, offset + 1)})
        if mine:
            async with self._reading:
                try:
                    letters = await asyncio.to_thread(self._letters, select, True)
                except BrokerUnavailableError as error:
                    raise UnavailableError(str(error)) from error
            if letters:
                return letters[0]
        raise TaskNotFoundError(f"no dead letter lies at {at[:200]}; they are kept for thirty days")

    def _letters(self, select: Selection, full: bool) -> list[DeadLetter]:
        ranges = PastRanges(self._settings).find(select, Source.DEAD_LETTERS)
        return list(self._read(select, ranges, full=full))

    def _page(self, select: Selection, limit: int) -> DeadLetterPage:
        ranges = PastRanges(self._settings).find(select, Source.DEAD_LETTERS)
        read = _newest(ranges)
        groups: dict[tuple[str, str | None, str | None], _Group] = {}
        newest: list[tuple[datetime, str, DeadLetter]] = []
        for letter in self._read(select, read, full=False):
            key = (letter.type, letter.error.type if letter.error else None, letter.reason)
            if key in groups or len(groups) < _MOST_GROUPS:
                groups.setdefault(key, _Group()).take(letter)
            # Positions are unique, so letters themselves are never compared.
            entry = (letter.at, letter.position, letter)
            if len(newest) < limit:
                heapq.heappush(newest, entry)
            else:
                heapq.heappushpop(newest, entry)
        told = [
            DeadLetterGroup(
                type=key[0],
                error=key[1],
                reason=key[2],
                count=group.count,
                open=group.open,
                oldest=group.oldest,
                newest=group.newest,
                message=group.message,
            )
            for key, group in groups.items()
        ]
        return DeadLetterPage(
            groups=sorted(told, key=lambda group: -group.count),
            letters=[letter for *_, letter in sorted(newest, reverse=True)],
            complete=read == ranges and len(groups) < _MOST_GROUPS,
        )

    def _read(self, select: Selection, ranges: Iterable[SourceRange], *, full: bool) -> Iterable[DeadLetter]:
        chooser = Chooser(select, Source.DEAD_LETTERS)
        others: list[Message] = []
        no_tasks = select.ids is None and select.key is None and select.labels is None
        with contextlib.closing(Statuses(self._settings)) as statuses:
            reader = PastReader(self._settings, ranges, "laneway-dead-letters", others=others.append)
            try:
                while not reader.over:
                    pasts = [past for past in reader.read(_BATCH, 0.05) if chooser.wants(past)]
                    known = statuses.find([past.task.id for past in pasts])
                    for past in pasts:
                        if chooser.wants_end(past, State.DEAD_LETTERED, None):
                            yield self._letter(past, known.get(past.task.id), full=full)
                    for message in others if no_tasks else ():
                        letter = self._no_task(message, full=full)
                        if _said(letter, select):
                            yield letter
                    others.clear()
            finally:
                reader.close()

    def _letter(self, past: Past, known: Known | None, *, full: bool) -> DeadLetter:
        task = past.task
        went_on = known is not None and not (known.generation == task.generation and known.state is State.DEAD_LETTERED)
        return DeadLetter(
            position=past.position,
            id=task.id,
            type=task.type,
            generation=task.generation,
            redriven=went_on,
            payload=msgspec.json.decode(task.payload) if full else None,
            error=error_of(past, None, dead=True),
            **_told(past.headers, past.at, full=full),
        )

    def _no_task(self, message: Message, *, full: bool) -> DeadLetter:
        topic, headers = message.topic() or "", cast("list[tuple[str, bytes]]", message.headers() or [])
        error = header(headers, names.DLQ_ERROR)
        value = message.value()
        found: ErrorInfo | None = None
        if error is not None:
            with contextlib.suppress(msgspec.DecodeError):
                found = msgspec.json.decode(error, type=ErrorInfo)
        return DeadLetter(
            position=position(topic, message.partition() or 0, message.offset() or 0),
            id=None,
            type=topic.removeprefix(self._topics.task_topics).removesuffix(DEAD_LETTERS_SUFFIX),
            value=value.decode(errors="replace")[:_SHOWN] if full and value is not None else None,
            error=found,
            **_told(headers, message.timestamp()[1], full=full),
        )


@dataclass
class _Group:
    count: int = 0
    open: int = 0
    oldest: datetime = field(default_factory=lambda: datetime.max.replace(tzinfo=UTC))
    newest: datetime = field(default_factory=lambda: datetime.min.replace(tzinfo=UTC))
    message: str | None = None

    def take(self, letter: DeadLetter) -> None:
        self.count += 1
        self.open += letter.id is not None and not letter.redriven
        self.oldest = min(self.oldest, letter.at)
        if letter.at >= self.newest:
            self.newest = letter.at
            self.message = letter.error.message if letter.error else None


def _told(headers: list[tuple[str, bytes]], at: int, *, full: bool) -> dict[str, Any]:
    def text(name: str) -> str | None:
        said = header(headers, name)
        return None if said is None else said.decode(errors="replace")

    errors: list[ErrorInfo] = []
    if full and (said := header(headers, names.ERRORS)) is not None:
        with contextlib.suppress(msgspec.DecodeError):
            errors = _ERRORS.decode(said)
    return {
        "reason": text(names.DLQ_REASON),
        "errors": errors,
        "at": set_aside_at(headers) or datetime.fromtimestamp(at / 1000, UTC),
        "source": text(names.DLQ_SOURCE),
        "worker": text(names.DLQ_WORKER),
        "headers": {name: (value or b"").decode(errors="replace") for name, value in headers} if full else {},
    }


def _said(letter: DeadLetter, select: Selection) -> bool:
    """Whether a record that is no task is what was asked for."""
    if (select.since is not None and letter.at < select.since) or (
        select.until is not None and letter.at >= select.until
    ):
        return False
    if select.error is None:
        return True
    wanted, error = select.error.casefold(), letter.error
    return error is not None and (
        error.type.casefold() == wanted or wanted in f"{error.type}: {error.message}".casefold()
    )


def _newest(ranges: list[SourceRange]) -> list[SourceRange]:
    """As much of the ends of ``ranges`` as one question may read."""
    if sum(each.end - each.first for each in ranges) <= _MOST:
        return ranges
    share = _MOST // len(ranges)
    return [msgspec.structs.replace(each, first=max(each.first, each.end - share)) for each in ranges]
