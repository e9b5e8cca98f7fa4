import asyncio
import threading
import time
from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs

from streams.watch import BlockedLoops, Finding, LoopPulse, Standing, Stillness, Vigil, Watch
from tests.support.waiting import eventually

IDLE = Standing(finished=7, running=0, waiting=0)


class Played:
    """A vigil that looks twice a second at what the test says."""

    def __init__(self) -> None:
        self.vigil = Vigil(ended_after=30, standstill_after=60)
        self.now = 1000.0
        self.beats = 0
        self.asked = 0

    def findings(
        self, seconds: float, standing: Standing, *, beating: bool = True, lag: int | None = 0
    ) -> Iterator[tuple[float, Finding]]:
        def ask() -> int | None:
            self.asked += 1
            return lag

        end = self.now + seconds
        began = self.now
        while self.now < end:
            self.now += 0.5
            self.beats += beating
            found = self.vigil.look(self.now, self.beats, standing, ask)
            if found is not None:
                yield self.now - began, found


def test_a_loop_that_stands_is_told_once_after_5_seconds_and_ended_after_30() -> None:
    played = Played()
    assert list(played.findings(10, IDLE)) == []
    found = list(played.findings(31, IDLE, beating=False))
    assert found[0] == (5.5, Finding.LOOP_STANDS)
    assert [finding for _, finding in found].count(Finding.LOOP_STANDS) == 1
    assert found[1] == (30.5, Finding.LOOP_DEAD)


def test_a_loop_that_goes_on_is_told_again_the_next_time() -> None:
    played = Played()
    for _ in range(2):
        assert [finding for _, finding in played.findings(20, IDLE, beating=False)] == [Finding.LOOP_STANDS]
        assert list(played.findings(1, IDLE)) == []


def test_time_in_which_the_whole_process_was_stopped_does_not_count() -> None:
    played = Played()
    list(played.findings(1, IDLE))
    played.now += 3600
    assert list(played.findings(1, IDLE, beating=False)) == []


@pytest.mark.parametrize(
    ("standing", "lag"), [(IDLE._replace(waiting=1), 0), (IDLE, 12)], ids=["waiting here", "waiting on the broker"]
)
def test_standing_still_while_records_wait_ends_the_process_after_60_seconds(standing: Standing, lag: int) -> None:
    played = Played()
    found = list(played.findings(62, standing, lag=lag))
    assert found[0][1] is Finding.STANDSTILL
    assert 60 < found[0][0] < 62


@pytest.mark.parametrize(
    ("standing", "lag"),
    [
        (IDLE, 0),
        (IDLE, None),
        (IDLE._replace(running=1, waiting=9), 12),
        (IDLE._replace(excused=True, waiting=9), 12),
    ],
    ids=["nothing waits", "the broker is away", "something runs", "it drains"],
)
def test_standing_still_is_in_order_when(standing: Standing, lag: int | None) -> None:
    assert list(Played().findings(600, standing, lag=lag)) == []


@pytest.mark.parametrize("standing", [IDLE, IDLE._replace(running=3)], ids=["idle", "others run"])
def test_records_that_wait_for_status_while_nobody_reads_it_end_the_process(standing: Standing) -> None:
    found = list(Played().findings(62, standing._replace(unread=18, reads=7)))
    assert found[0][1] is Finding.UNREAD
    assert 60 < found[0][0] < 62


def test_records_may_wait_for_status_as_long_as_somebody_tries_to_read_it() -> None:
    played = Played()
    for reads in range(20):
        assert list(played.findings(30, IDLE._replace(unread=18, reads=reads))) == []
    assert list(played.findings(50, IDLE._replace(unread=18, reads=20))) == []
    assert list(played.findings(1, IDLE)) == []
    assert list(played.findings(50, IDLE._replace(unread=18, reads=20))) == []


def test_a_broker_that_comes_back_gives_the_worker_its_full_time() -> None:
    played = Played()
    assert list(played.findings(300, IDLE, lag=None)) == []
    assert list(played.findings(59, IDLE, lag=12)) == []


def test_progress_is_no_standstill_and_the_broker_is_asked_now_and_then_only() -> None:
    played = Played()
    for finished in range(100):
        assert list(played.findings(5, IDLE._replace(finished=finished), lag=12)) == []
    assert played.asked <= 51


def test_a_blocked_handler_loop_is_told_once_for_each_block() -> None:
    loops, pulse = BlockedLoops(), LoopPulse("email")
    told = []
    for tick in range(40):
        if not 10 <= tick < 20 and not tick >= 30:
            pulse.beats += 1
        told += [tick for _ in loops.look(tick * 0.5, [pulse])]
    assert told == [14, 34]


def test_a_handler_loop_without_work_is_not_judged() -> None:
    loops, pulse = BlockedLoops(), LoopPulse("email", busy=False)
    assert [found for tick in range(40) for found in loops.look(tick * 0.5, [pulse])] == []


def test_stillness_begins_anew_with_another_value() -> None:
    stillness = Stillness(longest_gap=2)
    assert [stillness.look(now, value) for now, value in [(0, 1), (1, 1), (2, 1), (3, 2), (4, 2), (99, 2)]] == [
        0,
        1,
        2,
        0,
        1,
        3,
    ]


async def test_a_real_handler_that_blocks_its_loop_is_told_with_its_stack_within_5_seconds() -> None:
    main, handlers = LoopPulse("main"), LoopPulse("email")
    released = threading.Event()

    async def a_handler_that_blocks() -> None:
        released.wait(30)

    async def serve() -> None:
        beating = asyncio.create_task(handlers.keep())
        await asyncio.sleep(0)
        await a_handler_that_blocks()
        beating.cancel()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    beating = asyncio.create_task(main.keep())
    watch = Watch(main, lambda: IDLE, ended_after=30, standstill_after=60)
    watch.loops.append(handlers)
    with capture_logs() as logs:
        began = time.monotonic()
        watch.start()
        thread.start()
        await eventually(lambda: watch.blocked, within=10)
        took = time.monotonic() - began
        await eventually(lambda: logs, within=1)
    released.set()
    thread.join()
    watch.stop()
    beating.cancel()
    assert took < 5
    (line,) = logs
    assert line["type"] == "email"
    assert "def, or executor=" in line["event"]
    assert "a_handler_that_blocks" in line["stack"]
