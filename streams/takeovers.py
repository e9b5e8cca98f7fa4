"""Opening partitions that came from other workers, by what ``status`` tells, and following what still runs there."""

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import structlog
from aiokafka.errors import KafkaError

from schemas.errors import BrokerUnavailableError
from schemas.settings import Settings
from schemas.task import Lane
from streams.control import Control
from streams.dispatcher import Dispatcher
from streams.guard import CrashGuard
from streams.lane_app import LaneApp
from streams.last_words import LAST_WORDS_WITHIN, LastWords
from streams.markers import MarkerReader, News, Question, Takeover
from streams.suspect_reader import SuspectReader
from streams.work import Partition, Work

log = structlog.get_logger(__name__)

_FOLLOW_EVERY: Final = 0.5
_LOOK_UP_EVERY: Final = 0.05
"""The same while a record that may be a repetition waits for what is told of its run: mostly nothing."""
_DOUBTS_OVER_AFTER: Final = 30.0
_TRY_AGAIN_AFTER: Final = 1.0
_LOOK_EVERY: Final = 0.01


class Takeovers:
    """Reads what former owners told of partitions that came to us, and lets their records start.

    What runs on other workers is followed until it is over or they are gone. What fails is tried again for as long as
    it takes; a lane that fails holds no other one up for longer than its time-outs.
    """

    def __init__(
        self,
        settings: Settings,
        dispatcher: Dispatcher,
        guard: CrashGuard,
        control: Control,
        apps: Mapping[Lane, LaneApp],
    ) -> None:
        self._control = control
        self._dispatcher = dispatcher
        self._guard = guard
        self._apps = apps
        self._markers = MarkerReader(settings)
        self._suspects = SuspectReader(settings)
        self._loop = asyncio.get_running_loop()
        self._tries = 0
        self._opening: set[Lane] = set()
        self._following: set[Lane] = set()
        self._followed_at = self._loop.time()
        self._doubted_at: float | None = None

    @property
    def steps(self) -> int:
        """Grows with every try and with whatever is read; from any thread."""
        return self._tries + self._markers.steps

    async def run(self) -> None:
        """Go on until cancelled."""
        with ThreadPoolExecutor(1, thread_name_prefix="markers") as thread:
            try:
                async with asyncio.TaskGroup() as group:
                    while True:
                        self._open_what_is_due(group, thread)
                        self._follow_what_is_parked(group, thread)
                        await asyncio.sleep(_LOOK_EVERY)
            finally:
                thread.submit(self._markers.close)
                thread.submit(self._suspects.close)

    def _open_what_is_due(self, group: asyncio.TaskGroup, thread: ThreadPoolExecutor) -> None:
        now = self._loop.time()
        due = [partition for partition in self._dispatcher.unopened() if partition.heard_out_at <= now]
        for lane, mine in _by_lane(due).items():
            if lane not in self._opening:
                self._opening.add(lane)
                group.create_task(self._open(thread, lane, mine))

    def _follow_what_is_parked(self, group: asyncio.TaskGroup, thread: ThreadPoolExecutor) -> None:
        now, parked_at = self._loop.time(), self._dispatcher.with_parked()
        in_doubt = any(work.doubtful for partition in parked_at for work in partition.parked)
        if in_doubt:
            self._doubted_at = now
        elif self._doubted_at is not None and now - self._doubted_at > _DOUBTS_OVER_AFTER:
            self._doubted_at = None
            thread.submit(self._markers.forget)
        if now - self._followed_at < (_LOOK_UP_EVERY if in_doubt else _FOLLOW_EVERY):
            return
        self._followed_at = now
        for lane, mine in _by_lane(parked_at).items():
            if lane not in self._following:
                self._following.add(lane)
                group.create_task(self._follow(thread, lane, mine))

    async def _open(self, thread: ThreadPoolExecutor, lane: Lane, mine: Mapping[int, Partition]) -> None:
        """Open partitions of a lane, or find when that may be."""
        self._tries += 1
        read = False
        try:
            consumer = self._apps[lane].consumer
            # Who is alive first: whoever has gone meanwhile had sent all that it ever will before the read.
            alive = await consumer.alive()
            found = await consumer.committed_before(mine)
            commits = {number: found.get(number) for number in mine}
            heard_out = {number for number, partition in mine.items() if partition.heard_out_at}
            taken = await self._loop.run_in_executor(thread, self._markers.take_over, lane, commits, heard_out)
            read = True
            if unheard := sorted(mine.keys() - taken):
                log.info("not handed over in order: former owners are heard out", lane=str(lane), numbers=unheard)
            for number in unheard:
                # From the broker's answer on: one that stood still until then takes what waited for it now.
                mine[number].heard_out_at = self._loop.time() + LAST_WORDS_WITHIN
                mine[number].alive = alive
            with_old_records = [number for number, found in taken.items() if found.start < found.redelivered_until]
            await self._control.current(set(mine))
            self._guard.learn(await self._loop.run_in_executor(thread, self._suspects.read, with_old_records))
            await consumer.own({number: commit for number, commit in found.items() if not mine[number].revoked})
        except (BrokerUnavailableError, KafkaError) as error:
            log.warning("done-markers not read yet, tried again", lane=str(lane), said=str(error) or repr(error))
            for partition in () if read else mine.values():
                partition.heard_out_at = 0.0  # the brokers may have stood still: what they keep comes after that
            again_at = self._loop.time() + _TRY_AGAIN_AFTER
            while self._loop.time() < again_at and not all(each.revoked for each in mine.values()):  # noqa: ASYNC110
                await asyncio.sleep(_LOOK_EVERY)
        else:
            for number, takeover in taken.items():
                if not mine[number].revoked:
                    self._take(mine[number], takeover, alive)
        finally:
            self._opening.discard(lane)

    def _take(self, partition: Partition, takeover: Takeover, alive: frozenset[str]) -> None:
        partition.start = takeover.start
        partition.redelivered_until = takeover.redelivered_until
        partition.read_from = takeover.read_from
        partition.read_until = takeover.read_until
        partition.told(takeover.moved_on.values())
        claimants = partition.claimants
        # Who had gone before its last words were waited for has said them; all others are followed until that is sure.
        partition.alive = alive | (claimants & partition.alive if partition.heard_out_at else claimants)
        self._dispatcher.open_partition(partition)

    async def _follow(self, thread: ThreadPoolExecutor, lane: Lane, mine: Mapping[int, Partition]) -> None:
        """See what became of tasks that run on other workers, or that may be over."""
        self._tries += 1
        asked = {number: list(partition.parked) for number, partition in mine.items()}
        questions = {number: _question(mine[number], works) for number, works in asked.items()}
        asked_at = self._loop.time()
        try:
            # Who is alive first, as above.
            alive = await self._apps[lane].consumer.alive()
            news = await self._loop.run_in_executor(thread, self._markers.follow, lane, questions)
        except (BrokerUnavailableError, KafkaError) as error:
            said = str(error) or repr(error)
            log.warning("tasks that run elsewhere not followed, tried again", lane=str(lane), said=said)
            for partition in mine.values():
                partition.last_words = LastWords()  # as above
        else:
            for number, found in news.items():
                self._learn(mine[number], asked[number], found, alive, asked_at)
        finally:
            self._following.discard(lane)

    def _learn(
        self, partition: Partition, asked: list[Work], news: News, alive: frozenset[str], asked_at: float
    ) -> None:
        if partition.revoked:
            return
        partition.read_until = news.read_until
        partition.told(news.moved_on.values())
        may_speak = partition.last_words.may_speak(partition.claimants, alive, asked_at, self._loop.time())
        self._dispatcher.learned(partition, asked, may_speak)


def _by_lane(partitions: list[Partition]) -> dict[Lane, dict[int, Partition]]:
    by_lane: dict[Lane, dict[int, Partition]] = {}
    for partition in partitions:
        by_lane.setdefault(partition.lane, {})[partition.number] = partition
    return by_lane


def _question(partition: Partition, works: list[Work]) -> Question:
    """What decides about these works."""
    # No run begins before it is due; the first record of one that is due at once may be over before this one came.
    doubtful = {
        work.task.id: work.due or work.delivery.since or work.source.appended_at for work in works if work.doubtful
    }
    since = min(doubtful.values(), default=None)
    return Question(partition.read_until, frozenset(partition.claims), since, frozenset(doubtful))
