"""The loop around a handler, without a broker: what is begun when, what is committed, and how it ends."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, cast

import pytest
from msgspec.structs import replace

from consumers import handing as handing_module
from consumers.aside import Aside, Failure
from consumers.handing import PENDING, Handing
from consumers.reader import Received, TopicReader
from laneway import Reject, RetryPolicy
from laneway.kafka.records import OutgoingRecord
from schemas import codec
from schemas.errors import BrokerUnavailableError
from schemas.outcome import Outcome
from tests.support.sinks import outcome
from tests.support.waiting import eventually

AT_ONCE = RetryPolicy(max_attempts=3, first_delay=timedelta(0))


@dataclass
class Record:
    """As much of a client's message as is asked of one."""

    value_: bytes
    offset_: int
    headers_: list[tuple[str, bytes]] = field(default_factory=list)

    def value(self) -> bytes:
        return self.value_

    def offset(self) -> int:
        return self.offset_

    def headers(self) -> list[tuple[str, bytes]]:
        return self.headers_


class Reader:
    """Partitions in memory."""

    def __init__(self, topic: str) -> None:
        self.topic = topic
        self.held: frozenset[int] = frozenset()
        self.buffer: list[Received] = []
        self.assignments: dict[int, int] = {0: 1, 1: 1}
        self.finished: dict[int, int] = {}
        self.ended = False
        self.closed = False

    def feed(self, partition: int, offset: int, value: Outcome | bytes) -> None:
        body = value if isinstance(value, bytes) else codec.encode(value)
        received = Received(cast("Any", Record(body, offset)), partition, self.assignments[partition])
        self.buffer.append(received)

    def begin(self) -> None: ...

    def take(self) -> Received | None:
        return self.buffer.pop(0) if self.buffer else None

    def still(self, partition: int, assignment: int) -> bool:
        return self.assignments.get(partition) == assignment

    def owns(self, received: Received) -> bool:
        return self.still(received.partition, received.assignment)

    def finish(self, received: Received) -> None:
        if self.owns(received):
            self.finished[received.partition] = (received.message.offset() or 0) + 1

    def request_close(self) -> None: ...

    def close(self) -> None:
        self.closed = True


class Place:
    """Takes what is set aside."""

    settings = None
    topic = "aside"

    def __init__(self) -> None:
        self.reader, self.asking = Reader("results"), Reader("aside")
        self.failures: list[Failure] = []

    def make(self) -> None: ...

    def results(self, *_: object) -> Reader:
        return self.reader

    def asked(self, *_: object) -> Reader:
        return self.asking

    def record(self, _message: object, failure: Failure) -> OutgoingRecord:
        self.failures.append(failure)
        return OutgoingRecord("aside", 0, None, b"", [])


class Producer:
    """Acknowledges, as often as it is not away."""

    away = 0
    sent = 0

    def __init__(self, *_: object) -> None: ...

    async def send(self, _records: object) -> None:
        if Producer.away:
            Producer.away -= 1
            raise BrokerUnavailableError("away")
        Producer.sent += 1

    async def close(self) -> None: ...


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setattr(handing_module, "RecordProducer", Producer)
    monkeypatch.setattr(handing_module, "_PUBLISH_PAUSE", AT_ONCE)
    monkeypatch.setattr(Producer, "away", 0)
    monkeypatch.setattr(Producer, "sent", 0)
    return Place()


def handing(
    place: Place, handler: Callable[[Outcome], object], *, retry: RetryPolicy = AT_ONCE, concurrency: int = 4
) -> Handing:
    return Handing(cast("Aside", place), handler, retry=retry, concurrency=concurrency, start="earliest", follow=True)


def look(engine: Handing) -> None:
    """As the reader's thread does when something came in."""
    engine._news.set()


async def test_what_is_done_behind_an_open_one_is_not_committed(place: Place) -> None:
    gate, begun = asyncio.Event(), list[str]()
    first, *others = [outcome(number) for number in range(4)]

    async def handle(each: Outcome) -> None:
        begun.append(each.id)
        if each.id == first.id and begun.count(first.id) == 1:
            raise OSError("once")
        if each.id == first.id:
            await gate.wait()

    for offset, each in enumerate((first, *others)):
        place.reader.feed(0, offset, each)
    engine = handing(place, handle, retry=RetryPolicy(first_delay=timedelta(milliseconds=1), jitter=False))
    running = asyncio.create_task(engine.run())
    await eventually(lambda: begun.count(first.id) == 2, what="the second try")
    place.reader.feed(1, 0, last := outcome(9))
    look(engine)
    await eventually(lambda: place.reader.finished == {1: 1}, what="the other partition done")
    assert begun[-1] == last.id
    gate.set()
    await eventually(lambda: place.reader.finished == {0: 4, 1: 1}, what="everything done")
    engine.stop()
    await running
    assert place.reader.closed
    assert place.failures == []


async def test_one_partition_never_has_two_handlers_and_a_key_keeps_its_order(place: Place) -> None:
    at_work: dict[str, int] = {}
    handled: list[str] = []
    fails = {"a": 2}
    of_key = [replace(outcome(number), id=name, ordering_key="k") for number, name in enumerate("abc")]

    async def handle(each: Outcome) -> None:
        part = each.labels["number"]
        at_work[part] = at_work.get(part, 0) + 1
        await asyncio.sleep(0)
        at_work[part] -= 1
        assert at_work[part] == 0
        if fails.get(each.id, 0):
            fails[each.id] -= 1
            raise OSError("again")
        handled.append(each.id)

    for offset, each in enumerate(of_key):
        place.reader.feed(0, offset, replace(each, labels={"number": "0"}))
    place.reader.feed(0, 3, replace(outcome(0), id="free"))
    engine = handing(place, handle, retry=RetryPolicy(first_delay=timedelta(milliseconds=5), jitter=False))
    running = asyncio.create_task(engine.run())
    await eventually(lambda: place.reader.finished == {0: 4}, what="everything done")
    engine.stop()
    await running
    assert handled == ["free", "a", "b", "c"]


async def test_it_is_committed_only_once_it_lies_aside(place: Place) -> None:
    Producer.away = 2
    tries: list[str] = []

    def handle(each: Outcome) -> None:
        tries.append(each.id)
        raise Reject("no") if each.id == "wrong" else OSError("no place")

    place.reader.feed(0, 0, replace(outcome(0), id="wrong"))
    place.reader.feed(0, 1, b"no outcome")
    place.reader.feed(0, 2, replace(outcome(0), id="fails"))
    engine = handing(place, handle)
    running = asyncio.create_task(engine.run())
    await eventually(lambda: place.reader.finished == {0: 3}, what="everything aside")
    engine.stop()
    await running
    assert (tries.count("wrong"), tries.count("fails"), Producer.sent) == (1, 3, 3)
    told = {(each.reason, each.tries, each.error.type, each.source) for each in place.failures}
    assert told == {
        ("rejected", 1, "Reject", "results-0@0"),
        ("undecodable", 1, "UndecodableRecordError", "results-0@1"),
        ("exhausted", 3, "OSError", "results-0@2"),
    }


async def test_an_end_while_nothing_can_be_set_aside_commits_nothing(place: Place) -> None:
    Producer.away = 1_000_000

    def handle(_: Outcome) -> None:
        raise Reject("no")

    place.reader.feed(0, 0, outcome(0))
    engine = handing(place, handle)
    running = asyncio.create_task(engine.run())
    await eventually(lambda: Producer.away < 1_000_000, what="a try")
    engine.stop()
    await asyncio.wait_for(running, 5)
    assert place.reader.finished == {}


async def test_a_partition_rests_behind_one_that_waits_and_goes_on_after_it(place: Place) -> None:
    gate = asyncio.Event()

    async def handle(each: Outcome) -> None:
        if each.id == "first" and not gate.is_set():
            raise OSError("not yet")

    place.reader.feed(0, 0, replace(outcome(0), id="first"))
    for offset in range(1, PENDING):
        place.reader.feed(0, offset, outcome(0))
    slowly = RetryPolicy(max_attempts=10_000, first_delay=timedelta(milliseconds=5), factor=1, jitter=False)
    engine = handing(place, handle, retry=slowly)
    running = asyncio.create_task(engine.run())
    await eventually(lambda: place.reader.held == {0}, what="a partition that rests")
    assert place.reader.finished == {}
    gate.set()
    await eventually(lambda: place.reader.finished == {0: PENDING}, what="everything done")
    look(engine)
    await eventually(lambda: not place.reader.held, what="a partition that goes on")
    engine.stop()
    await running


async def test_of_a_partition_that_went_nothing_is_tried_again(place: Place) -> None:
    tries = 0

    async def handle(_: Outcome) -> None:
        nonlocal tries
        tries += 1
        place.reader.assignments[0] = 2
        raise OSError("and the partition went meanwhile")

    place.reader.feed(0, 0, outcome(0))
    engine = handing(place, handle)
    running = asyncio.create_task(engine.run())
    await eventually(lambda: tries == 1, what="a try")
    place.reader.feed(1, 0, b"no outcome")
    look(engine)
    await eventually(lambda: place.reader.finished == {1: 1}, what="the other partition done")
    engine.stop()
    await running
    assert tries == 1


async def test_cancelled_it_waits_for_nobody(place: Place) -> None:
    begun, ended = asyncio.Event(), list[str]()

    async def handle(each: Outcome) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(each.id)

    place.reader.feed(0, 0, only := outcome(0))
    running = asyncio.create_task(handing(place, handle).run())
    await asyncio.wait_for(begun.wait(), 5)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert ended == [only.id]
    assert place.reader.finished == {}
    assert place.reader.closed


def test_readers_are_what_is_stood_in_for() -> None:
    offered = {name for name in dir(Reader("t")) if not name.startswith("_")} - {"feed", "buffer", "assignments"}
    assert offered - {"finished", "closed", "held", "topic"} <= set(dir(TopicReader))
