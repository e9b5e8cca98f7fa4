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
from streams.markers import MarkerReader, Question
from streams.suspect_reader import SuspectReader
from streams.work import Partition, Work

log = structlog.get_logger(__name__)

_FOLLOW_EVERY: Final = 0.5
_LOOK_UP_EVERY: Final = 0.05
"""The same while a record that may be a repetition waits for what is told of its run: mostly nothing."""
_DOUBTS_OVER_AFTER: Final = 30.0
_TRY_AGAIN_AFTER: Final = 1.0
_LOOK_EVERY: Final = 0.01
_LAST_WORDS_WITHIN: Final = 1.0
"""Seconds that a partition is kept closed whose former owner did not hand it over: what that had sent when it was given
up may still come into the log, most of all when a broker wakes up that both had to wait for."""


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

    @property
    def steps(self) -> int:
        """Grows with every try and with whatever is read; from any thread."""
        return self._tries + self._markers.steps

    async def run(self) -> None:
        """Go on until cancelled."""
        with ThreadPoolExecutor(1, thread_name_prefix="markers") as thread:
            try:
                followed_at = doubted_at = self._loop.time()
                while True:
                    now = self._loop.time()
                    unopened = _by_lane([each for each in self._dispatcher.unopened() if each.heard_out_at <= now])
                    failed = [lane for lane, mine in unopened.items() if not await self._open(thread, lane, mine)]
                    in_doubt = self._in_doubt()
                    if in_doubt:
                        doubted_at = self._loop.time()
                    elif self._loop.time() - doubted_at > _DOUBTS_OVER_AFTER:
                        self._markers.forget()
                    if self._loop.time() - followed_at > (_LOOK_UP_EVERY if in_doubt else _FOLLOW_EVERY):
                        await self._follow(thread)
                        followed_at = self._loop.time()
                    await asyncio.sleep(_TRY_AGAIN_AFTER if failed else _LOOK_EVERY)
            finally:
                thread.submit(self._markers.close)
                thread.submit(self._suspects.close)

    def _in_doubt(self) -> bool:
        return any(work.doubtful for partition in self._dispatcher.with_parked() for work in partition.parked)

    async def _open(self, thread: ThreadPoolExecutor, lane: Lane, mine: Mapping[int, Partition]) -> bool:
        """Open partitions of a lane; False when that could not be."""
        self._tries += 1
        try:
            found = await self._apps[lane].consumer.committed_before(mine)
            commits = {number: found.get(number) for number in mine}
            heard_out = {number for number, partition in mine.items() if partition.heard_out_at}
            taken = await self._loop.run_in_executor(thread, self._markers.take_over, lane, commits, heard_out)
            if unheard := sorted(mine.keys() - taken):
                log.info("not handed over in order: former owners are heard out", lane=str(lane), numbers=unheard)
            for number in unheard:
                # From the broker's answer on: one that stood still until then takes what waited for it now.
                mine[number].heard_out_at = self._loop.time() + _LAST_WORDS_WITHIN
            with_old_records = [number for number, found in taken.items() if found.start < found.redelivered_until]
            running = any(each.running for each in taken.values())
            alive = await self._apps[lane].consumer.alive() if running else frozenset()
            await self._control.current(set(mine))
            self._guard.learn(await self._loop.run_in_executor(thread, self._suspects.read, with_old_records))
        except (BrokerUnavailableError, KafkaError) as error:
            log.warning("done-markers not read yet, tried again", lane=str(lane), said=str(error) or repr(error))
            return False
        for number, takeover in taken.items():
            partition = mine[number]
            if partition.revoked:
                continue
            partition.moved_on = takeover.moved_on
            partition.start = takeover.start
            partition.redelivered_until = takeover.redelivered_until
            partition.read_from = takeover.read_from
            partition.read_until = takeover.read_until
            partition.alive = alive
            self._dispatcher.open_partition(partition)
        return True

    async def _follow(self, thread: ThreadPoolExecutor) -> None:
        """See what became of tasks that run on other workers, or that may be over."""
        for lane, partitions in _by_lane(self._dispatcher.with_parked()).items():
            self._tries += 1
            asked = {number: list(partition.parked) for number, partition in partitions.items()}
            questions = {number: _question(partitions[number], works) for number, works in asked.items()}
            try:
                # Who is alive first: whoever has gone meanwhile had told all that it ever will before the read.
                alive = await self._apps[lane].consumer.alive()
                news = await self._loop.run_in_executor(thread, self._markers.follow, lane, questions)
            except (BrokerUnavailableError, KafkaError) as error:
                said = str(error) or repr(error)
                log.warning("tasks that run elsewhere not followed, tried again", lane=str(lane), said=said)
                continue
            for number, found in news.items():
                partition = partitions[number]
                if not partition.revoked:
                    partition.read_until = found.read_until
                    self._dispatcher.learned(partition, asked[number], found.moved_on.values(), alive)


def _by_lane(partitions: list[Partition]) -> dict[Lane, dict[int, Partition]]:
    by_lane: dict[Lane, dict[int, Partition]] = {}
    for partition in partitions:
        by_lane.setdefault(partition.lane, {})[partition.number] = partition
    return by_lane


def _question(partition: Partition, works: list[Work]) -> Question:
    """What decides about these works."""
    # No run begins before it is due; the first record of one that is due at once may be over before this one came.
    doubtful = [work.due or work.delivery.since or work.source.appended_at for work in works if work.doubtful]
    elsewhere = any(not work.doubtful for work in works)
    return Question(
        position=partition.read_until if elsewhere else None,
        since=min(doubtful, default=None),
        ids={work.task.id for work in works},
    )
