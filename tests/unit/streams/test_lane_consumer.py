"""The lane's consumer lets no record be passed over: what a rebalance threw away is read again."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from schemas.settings import KafkaSettings, Settings
from schemas.task import Lane, Priority
from streams import lane_consumer
from streams.lane_app import LaneApp
from streams.lane_consumer import LaneConsumer
from tests.support.waiting import eventually

ONE, TWO = TP("lane", 0), TP("lane", 1)


class Thread:
    """Stands for the consumer's thread: notes what is asked of it."""

    def __init__(self) -> None:
        self.sought: list[dict[TP, int]] = []
        self.fetches_wait = 0.0

    def may_keep_fetches_waiting(self, seconds: float) -> None:
        self.fetches_wait = seconds

    async def call_thread(self, _: Callable[..., Any], offsets: dict[TP, int]) -> None:
        self.sought.append(dict(offsets))


def consumer(**expected: int) -> tuple[LaneConsumer, Thread]:
    made, thread = LaneConsumer.__new__(LaneConsumer), Thread()
    made._expected = {{"one": ONE, "two": TWO}[name]: offset for name, offset in expected.items()}
    made._asked_again = {}
    made._room = asyncio.Event()
    made._thread = thread  # type: ignore[assignment]
    made.app = SimpleNamespace(lane=Lane("email", Priority.LOW), in_recovery=False)  # type: ignore[assignment]
    return made, thread


def batch(first: int, last: int) -> list[Any]:
    return [SimpleNamespace(offset=offset) for offset in range(first, last + 1)]


async def test_a_partition_that_moved_on_is_read_again_and_others_go_on() -> None:
    made, thread = consumer(one=3, two=7)
    taken = await made._without_gaps({ONE: batch(5, 9), TWO: batch(7, 8)})
    assert list(taken) == [TWO]
    assert thread.sought == [{ONE: 3}]
    assert list(await made._without_gaps({ONE: batch(3, 9)})) == [ONE]


async def test_a_gap_of_the_log_is_passed_over_once_it_came_again() -> None:
    made, thread = consumer(one=3)
    assert await made._without_gaps({ONE: batch(5, 9)}) == {}
    assert list(await made._without_gaps({ONE: batch(5, 9)})) == [ONE]
    assert len(thread.sought) == 1


async def test_records_that_come_again_are_no_gap() -> None:
    made, thread = consumer(one=3)
    assert await made._without_gaps({ONE: batch(0, 2)}) == {}
    assert thread.sought == []


async def test_what_another_worker_had_committed_is_not_taken() -> None:
    made, thread = consumer(one=167)
    taken = await made._without_gaps({ONE: batch(146, 170)})
    assert [record.offset for record in taken[ONE]] == [167, 168, 169, 170]
    assert thread.sought == []


async def test_what_came_through_a_rebalance_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    made, thread = consumer(one=3)

    async def fetched_after_the_seek(*_: object) -> dict[TP, list[Any]]:
        made.app.consumer_generation_id += 1
        return {ONE: batch(3, 9), TWO: batch(0, 1)}

    made._taken_at = 0.0
    made.flow_active = True
    made.app.consumer_generation_id = 1
    monkeypatch.setattr(driver.Consumer, "_getmany", fetched_after_the_seek)
    assert await made._getmany({ONE, TWO}, 1.0) == {}
    assert thread.sought == [{ONE: 3}]


async def test_one_commit_is_under_way_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Assigned()
    made.app.partitions.committable = lambda _: {0: (1, "")}
    under_way = most = 0

    async def commit(_: object) -> bool:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.01)
        under_way -= 1
        return True

    made.consumer._commit_in_thread = commit
    made.consumer._last_commit = SimpleNamespace(get=lambda *_: (None, ""), update=lambda _: None)
    made.consumer.assignment = lambda: {TP(made.app.lane_topic, 0)}
    made.consumer._thread.thread_loop = loop = asyncio.new_event_loop()
    monkeypatch.setattr(lane_consumer, "_COMMITTED_WITHIN", 5.0)
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    for _ in range(3):
        assert all(await asyncio.gather(*(made.consumer.force_commit() for _ in range(4))))
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()
    assert most == 1


class Fetching:
    """A consumer that flows, with two partitions; notes how long fetches may take."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.consumer, _ = consumer(one=0, two=0)
        self.consumer.flow_active, self.consumer._taken_at = True, 0.0
        self.consumer._active_partitions = {ONE, TWO}
        self.consumer._buffered_partitions = set()
        self.consumer._paused_partitions = set()
        self.allowed: list[float] = []

        async def fetch(_: object, timeout: float) -> tuple[dict[TP, list[Any]], set[TP]]:
            self.allowed.append(timeout)
            return {}, set()

        monkeypatch.setattr(driver.Consumer, "_wait_next_records", fetch)
        monkeypatch.setattr(LaneConsumer, "assignment", lambda _: {ONE, TWO})


async def test_fetches_wait_long_only_while_nothing_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    made, thread = consumer(one=0)
    made._taken_at, made.flow_active, made.app.consumer_generation_id = 0.0, True, 1
    came: list[dict[TP, list[Any]]] = [{}, {ONE: batch(0, 9)}, {}, {}]
    now = 1000.0
    monkeypatch.setattr(lane_consumer, "time", SimpleNamespace(monotonic=lambda: now))

    async def fetched(*_: object) -> dict[TP, list[Any]]:
        return came.pop(0)

    monkeypatch.setattr(driver.Consumer, "_getmany", fetched)
    waits = []
    for later in (0, 1, 1, lane_consumer._BUSY_FOR + 1):
        now += later
        await made._getmany({ONE}, 1.0)
        waits.append(thread.fetches_wait)
    long, short = lane_consumer._FETCH_WAITS, lane_consumer._FETCH_WAITS_WHILE_BUSY
    assert waits == [long, short, short, long]


async def test_while_a_stream_is_full_the_other_partitions_are_not_waited_for_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fetching = Fetching(monkeypatch)
    await fetching.consumer._wait_next_records(1.0)
    fetching.consumer.on_buffer_full(TWO)
    await fetching.consumer._wait_next_records(1.0)
    assert fetching.allowed == [1.0, lane_consumer._LOOK_AGAIN_AFTER]


async def test_when_all_are_full_the_first_that_has_room_ends_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    fetching = Fetching(monkeypatch)
    monkeypatch.setattr(lane_consumer, "_IDLE", 3600.0)
    for partition in (ONE, TWO):
        fetching.consumer.on_buffer_full(partition)
    waiting = asyncio.create_task(fetching.consumer._wait_next_records(1.0))
    await asyncio.sleep(0)
    assert not waiting.done()
    fetching.consumer.on_buffer_drop(ONE)
    assert await asyncio.wait_for(waiting, 10) == ({}, None)
    assert fetching.allowed == []


def made_app() -> LaneApp:
    return LaneApp(
        Lane("email", Priority.LOW),
        Settings(kafka=KafkaSettings(bootstrap_servers="127.0.0.1:1")),
        SimpleNamespace(admit=None),
        client_id="test",
    )


def test_a_worker_leaves_nothing_where_it_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made_app()._create_directories()
    assert list(tmp_path.iterdir()) == []


async def test_what_comes_again_after_a_rebalance_is_delivered_though_more_had_been(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    worker = made_app()
    worker.loop = asyncio.get_running_loop()
    delivered: list[int] = []
    over = asyncio.Event()

    async def deliver(message: Any) -> None:
        delivered.append(message.offset)

    async def moved(*_: object) -> None:
        """Partitions came or went."""

    transport = worker._new_transport()
    made: Any = transport.create_consumer(deliver, on_partitions_revoked=moved, on_partitions_assigned=moved)

    async def fetched(_: object, timeout: float) -> AsyncIterator[tuple[TP, Any]]:
        # Two batches, the partition goes and comes back, and the first one is shorter than it was.
        for last in (299, 648, 300):
            yield ONE, SimpleNamespace(offset=last, topic=ONE.topic, key=b"", value=b"")
        over.set()

    monkeypatch.setattr(LaneConsumer, "getmany", fetched)
    await made._drain_messages(SimpleNamespace(_stopped=over))
    made._thread.thread_loop.close()
    assert delivered == [299, 648, 300]


class Assigned:
    """A consumer in its app, with a group, a thread and a log that answer at once unless they are held up."""

    def __init__(self) -> None:
        self.app: Any = made_app()
        self.app.loop = asyncio.get_running_loop()
        self.app.partitions = SimpleNamespace(
            release=self._moved, revoked=lambda *_: None, assigned=lambda *_: None, committable=lambda _: {}
        )
        self.consumer = self._made_consumer()
        self.app._consumer = self.consumer
        self.app.__dict__["_fetcher"] = SimpleNamespace(maybe_start=self._moved)
        self.known = asyncio.Event()
        """Where the partitions begin."""
        self.known.set()
        self.consumer.assignment = lambda: {ONE, TWO}
        self.consumer.highwater = lambda _: 0
        self.consumer.committed_before = self._committed_before
        self.consumer._thread.call_thread = self._call_thread
        self.consumer._thread.may_keep_fetches_waiting = lambda _: None

    def _made_consumer(self) -> Any:
        return self.app._new_transport().create_consumer(
            self._moved, on_partitions_revoked=self._moved, on_partitions_assigned=self._moved
        )

    async def _moved(self, *_: object) -> None:
        """Partitions came or went."""

    async def _committed_before(self, _: object) -> dict[int, Any]:
        return {}

    async def _call_thread(self, asked: Callable[..., Any], *_: object) -> dict[TP, int]:
        if asked == self.consumer._starts_in_thread:
            await self.known.wait()
        return {ONE: 0, TWO: 0}

    async def rebalance(self, generation: int) -> None:
        """As the group and Faust do it, up to the point where a seek is to follow."""
        await self.consumer.on_partitions_revoked({ONE, TWO})
        self.app.consumer_generation_id = generation
        await self.consumer.on_partitions_assigned({ONE, TWO}, generation)
        self.app.tables.recovery._generation_id = generation
        self.app.tables.recovery.signal_recovery_start.set()

    def close(self) -> None:
        self.consumer._thread.thread_loop.close()


async def test_a_rebalance_that_ends_late_lets_nothing_flow_before_the_next_one_has_sought() -> None:
    made = Assigned()
    consumer = made.consumer
    await made.rebalance(1)
    await consumer.perform_seek()
    await consumer.on_partitions_revoked({ONE, TWO})
    consumer.resume_flow()  # as the end of the first does, which was still seeking
    assert not consumer.flow_active
    await consumer.on_partitions_assigned({ONE, TWO}, 2)
    consumer.resume_flow()
    assert not consumer.flow_active
    await consumer.perform_seek()
    consumer.resume_flow()
    assert consumer.flow_active
    made.close()


async def test_a_seek_that_takes_longer_than_a_request_is_waited_for() -> None:
    made = Assigned()
    made.app.conf.broker_request_timeout = 0.05
    recovery: Any = made.app.tables.recovery
    ends_rebalances = asyncio.create_task(recovery._restart_recovery.fun(recovery))
    made.known.clear()
    await made.rebalance(1)
    await asyncio.sleep(0.2)
    assert not made.consumer.flow_active
    made.known.set()
    await eventually(lambda: made.consumer.flow_active)
    made.known.clear()
    await made.rebalance(2)
    await asyncio.sleep(0.2)
    assert not made.consumer.flow_active
    await made.rebalance(3)
    made.known.set()
    await eventually(lambda: made.consumer.flow_active)
    ends_rebalances.cancel()
    made.close()


async def test_what_was_fetched_of_a_partition_that_is_paused_meanwhile_is_delivered() -> None:
    made = Assigned()
    consumer = made.consumer
    consumer._active_partitions, consumer._expected = {ONE, TWO}, {ONE: 0, TWO: 0}

    def record(tp: TP) -> Any:
        return SimpleNamespace(topic=tp.topic, partition=tp.partition, offset=0, timestamp=0, timestamp_type=0)

    async def fetched(*_: object) -> dict[TP, list[Any]]:
        return {ONE: [record(ONE)], TWO: [record(TWO)]}

    consumer._thread.getmany = fetched
    delivered = []
    async for tp, _ in consumer.getmany(timeout=1.0):
        delivered.append(tp)
        consumer.pause_partitions({TWO})
    assert delivered == [ONE, TWO]
    consumer.on_buffer_full(TWO)
    consumer.on_buffer_drop(TWO)
    assert consumer._get_active_partitions() == {ONE}
    made.close()


async def test_what_lies_in_a_stream_stays_there_when_the_flow_is_resumed() -> None:
    worker = made_app()
    worker.loop = asyncio.get_running_loop()
    queue = worker.topic("lane").clone_using_queue(worker.FlowControlQueue(4, clear_on_resume=True)).queue
    worker.flow_control.resume()
    queue.put_nowait("a batch that no seek brings again")
    worker.flow_control.resume()
    assert queue.qsize() == 1
    worker.flow_control.clear()
    assert queue.qsize() == 0
