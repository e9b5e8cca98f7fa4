"""The consumer of one lane: every record once and in order, to whoever has its partition, and commits as they allow.

Faust 0.15.3 commits past records that are still in flight (faust #606), forgets acknowledgements at a rebalance
(#502) and books a failed commit as done (#316). So its acknowledgements are not used at all: ``LaneConsumer`` commits
what the dispatcher's trackers allow.
"""

import asyncio
import concurrent.futures
import contextlib
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol

import structlog
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError
from aiokafka.structs import ConsumerRecord, OffsetAndMetadata
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from faust.types.tuples import ConsumerMessage, Message

from laneway import crashpoints
from schemas.errors import BrokerUnavailableError
from schemas.task import Lane
from schemas.topics import position
from streams import group
from streams.batches import NoReadOffsets
from streams.membership import MemberThread
from streams.tracker import HANDED_OVER, commit_metadata, read_commit_metadata

if TYPE_CHECKING:
    from streams.lane_app import LaneApp

log = structlog.get_logger(__name__)

Record = ConsumerRecord[bytes, bytes]

_PACE: Final = 0.005
_LOOK_AGAIN_AFTER: Final = 0.02
_IDLE: Final = 1.0
_FETCH_WAITS: Final = 1.5
_FETCH_WAITS_WHILE_BUSY: Final = 0.05
"""Seconds that a fetch may stay with a broker that has nothing for it, while others may wait for its end."""
_BUSY_FOR: Final = 5.0
"""Seconds since the last records were taken."""
_ASK_AGAIN_AFTER: Final = 0.5
_COMMITTED_WITHIN: Final = 3.0
"""Seconds that a commit is waited for."""


class Partitions(Protocol):
    """What the dispatcher does for one lane; the other side of the app."""

    async def admit(self, lane: Lane, records: list[Record]) -> None:
        """Take records of one partition, in order; returns when there is room for the next."""

    def assigned(self, lane: Lane, partitions: set[int], member: str) -> None:
        """The lane's consumer, as this member of its group, now has these partitions, and no others."""

    async def release(self, lane: Lane, partitions: set[int]) -> None:
        """Bring what these partitions are about to lose into a state that their next owner can go on from."""

    def revoked(self, lane: Lane, partitions: set[int]) -> None:
        """The lane's consumer has lost these partitions."""

    def membership_lost(self, lane: Lane) -> None:
        """The group had taken the lane's consumer for dead: others may have started what still runs here."""

    def committable(self, lane: Lane) -> Mapping[int, tuple[int, str]]:
        """For each assigned partition with something delivered: the offset to commit, and the commit's metadata."""


class LaneConsumer(driver.Consumer):
    """Faust's consumer with our batches and commits."""

    app: "LaneApp"
    _thread: MemberThread

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._read_offset = NoReadOffsets()
        self._last_commit: dict[TP, tuple[int, str]] = {}
        self._committing: concurrent.futures.Future[bool] | None = None
        self._taken_at = 0.0
        self._expected: dict[TP, int] = {}
        """The record of each partition that is to come next."""
        self._asked_again: dict[TP, int] = {}
        """Where a partition was read anew because what came lay beyond what was expected."""
        self._assignments = 0
        self._sought_in = 0
        """The assignment whose partitions stand where the group goes on."""
        self._between_assignments = False
        self._room = asyncio.Event()
        """Set when a partition that was full, or held, is wanted again."""

    def _new_consumer_thread(self) -> driver.AIOKafkaConsumerThread:
        return MemberThread(self, loop=self.loop, beacon=self.beacon)

    def _to_message(self, tp: TP, record: list[Record]) -> ConsumerMessage:
        last = record[-1]
        if tp in self._expected:
            self._expected[tp] = max(self._expected[tp], last.offset + 1)
        return ConsumerMessage(
            last.topic,
            last.partition,
            last.offset,
            last.timestamp / 1000,
            last.timestamp_type,
            [],
            None,
            record,  # type: ignore[arg-type]  # bytes to Faust; only our own topic and agent see it
            None,
            0,
            0,
            tp,
            generation_id=self.app.consumer_generation_id,
        )

    def track_message(self, message: Message) -> None:
        """Nothing: the dispatcher tracks."""

    async def _wait_next_records(self, timeout: float) -> Any:
        """As Faust's, but soon after a stream has room again.

        Faust's sleeps for a second while every stream is full, and waits as long for the partitions whose stream is
        not, whatever lies here of the others by then. And it drops what was fetched of a partition that is paused
        before its turn comes; all that comes from here is delivered.
        """
        if self.flow_active and len(active := self._get_active_partitions()) < len(self.assignment()):
            if not active:
                self._let_fetches_wait()
                self._room.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._room.wait(), _IDLE)
                return {}, None
            timeout = min(timeout, _LOOK_AGAIN_AFTER)
        records, _ = await super()._wait_next_records(timeout)
        return records, None

    def on_buffer_drop(self, tp: TP) -> None:
        """A stream has room for a partition again, which is fetched unless it is paused besides."""
        super().on_buffer_drop(tp)
        self._get_active_partitions().difference_update(self._paused_partitions)
        self._room.set()

    def resume_flow(self) -> None:
        """As Faust's, but only once the partitions of the present assignment, if there are any, have been sought.

        A rebalance that another one has overtaken lets nothing flow: that one seeks, and then resumes.
        """
        if not self._between_assignments and self._sought_in == self._assignments:
            super().resume_flow()

    def resume_partitions(self, tps: Iterable[TP]) -> None:
        """Fetch these again."""
        super().resume_partitions(tps)
        self._room.set()

    async def _getmany(self, active_partitions: set[TP] | None, timeout: float) -> Any:
        """Records that were fetched; a little later when some were taken a moment ago, so that many come at once."""
        wait = self._taken_at + _PACE - time.monotonic()
        if wait > 0:
            await asyncio.sleep(wait)
        generation = self.app.consumer_generation_id
        records = await super()._getmany(active_partitions, timeout)
        if not records:
            self._let_fetches_wait()
            return records
        self._taken_at = time.monotonic()
        self._thread.may_keep_fetches_waiting(_FETCH_WAITS_WHILE_BUSY)
        if generation != self.app.consumer_generation_id or not self.flow_active:
            # Of a rebalance: Faust would throw them away as well. The fetch may have ended after the new owner's seek.
            await self._read_from({tp: self._expected[tp] for tp in records if tp in self._expected})
            return {}
        if not records.keys() <= self._expected.keys():
            await self.perform_seek()
            return {}
        whole = await self._without_gaps(records)
        # Again, since that may have waited: taken for the next assignment's, they would hide what lies before them.
        return whole if generation == self.app.consumer_generation_id and self.flow_active else {}

    def _let_fetches_wait(self) -> None:
        """With the broker, as long as they may, once nothing has been taken for a while."""
        if time.monotonic() - self._taken_at > _BUSY_FOR:
            self._thread.may_keep_fetches_waiting(_FETCH_WAITS)

    async def _without_gaps(self, records: Mapping[TP, list[Record]]) -> dict[TP, list[Record]]:
        """Those records before which none is missing; the other partitions are read again from the one that is.

        A fetch that was under way through a rebalance moves the position on though its records are thrown away. Where
        nothing comes but the same again, the log has a gap there, and it is passed over. What lies before the place at
        which the group goes on was committed by another worker meanwhile.
        """
        whole: dict[TP, list[Record]] = {}
        again: dict[TP, int] = {}
        for tp, batch in records.items():
            expected = self._expected[tp]
            rest = batch if batch[0].offset >= expected else [each for each in batch if each.offset >= expected]
            if rest and rest[0].offset > expected != self._asked_again.get(tp):
                self._asked_again[tp] = again[tp] = expected
            elif rest:
                whole[tp] = rest
        if again:
            log.info("read again: records were missing", lane=str(self.app.lane), offsets=_told(again))
            await self._read_from(again)
        return whole

    async def _read_from(self, offsets: dict[TP, int]) -> None:
        """Have the next fetch begin there. Seeks are done in the order asked for."""
        if offsets:
            await self._thread.call_thread(self._seek_in_thread, offsets)

    async def perform_seek(self) -> None:
        """Seek every partition to where the group goes on; until that is done nothing of it is taken.

        Faust's own leaves one alone of which nothing was committed, wherever it stands by then.
        """
        assignments = self._assignments
        while assignments == self._assignments:
            try:
                starts = await self._thread.call_thread(self._starts_in_thread)
                commits = await self.committed_before(tp.partition for tp in starts)
            except (BrokerUnavailableError, KafkaError) as error:
                log.warning("not known yet where to go on", lane=str(self.app.lane), said=str(error) or repr(error))
                await asyncio.sleep(_ASK_AGAIN_AFTER)
                continue
            if assignments == self._assignments:
                self._asked_again.clear()
                self._expected = {
                    tp: max(start, commits[tp.partition].offset) if tp.partition in commits else start
                    for tp, start in starts.items()
                }
                await self._read_from(dict(self._expected))
                if assignments == self._assignments:
                    self._sought_in = assignments
            return

    async def _starts_in_thread(self) -> dict[TP, int]:
        """Where the log of each assigned partition begins; on the loop of the consumer's thread."""
        consumer = self._thread._ensure_consumer()  # noqa: SLF001
        found = await consumer.beginning_offsets(consumer.assignment()) if consumer.assignment() else {}
        return {TP(tp.topic, tp.partition): offset for tp, offset in found.items()}

    async def _seek_in_thread(self, offsets: Mapping[TP, int]) -> None:
        """On the loop of the consumer's thread."""
        consumer = self._thread._ensure_consumer()  # noqa: SLF001
        for tp, offset in offsets.items():
            with contextlib.suppress(IllegalStateError):  # not ours any more
                consumer.seek(driver.ensure_aiokafka_TP(tp), offset)

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Nothing: the trackers know of no gaps, and Faust would keep a list of each batch's inside."""

    @property
    def member_id(self) -> str:
        """How the group calls this consumer; empty before it was asked, and when it knows none of the name."""
        return self._thread.member_id

    @property
    def lease_holds(self) -> bool:
        """Whether the group certainly takes us for alive, so that nobody else can have our partitions."""
        thread = self._thread
        return time.monotonic() - thread.heard_at < self.app.session_timeout and thread.member_id == self.app.member_id

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Hand over and commit what is done while the partitions are still ours, then let go of them."""
        self._between_assignments = True
        numbers = {tp.partition for tp in revoked}
        if self._thread.member_id == self.app.member_id:
            await self.app.partitions.release(self.app.lane, numbers)
            await self.force_commit()  # not ``commit``, which does nothing more when one is under way
        for tp in revoked:
            self._last_commit.pop(tp, None)
        self.app.partitions.revoked(self.app.lane, numbers)
        await super().on_partitions_revoked(revoked)
        self._buffered_partitions.difference_update(revoked)  # room in a stream makes them no more active
        self.stop_flow()  # which Faust does only for who had partitions

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """Make trackers before the first record can come."""
        member_id = self._thread.member_id
        if member_id != self.app.member_id:
            if self.app.member_id:
                log.warning("the group had given this worker up", lane=str(self.app.lane))
                self.app.partitions.membership_lost(self.app.lane)
            self.app.member_id = member_id
        self._assignments += 1
        self._between_assignments = False
        self._expected.clear()
        self.app.partitions.assigned(self.app.lane, {tp.partition for tp in assigned}, member_id)
        await super().on_partitions_assigned(assigned, generation_id)

    async def force_commit(self, topics: object = None, start_new_transaction: bool = True) -> bool:
        """Commit the contiguous prefix of each partition.

        Delivery: a commit that fails is tried again at the next interval; until then the broker knows an older, and
            so safe, position.
        """
        topic = self.app.lane_topic
        if not await self._answered():
            return False
        ours = self.assignment()
        new: dict[TP, tuple[int, str]] = {}
        for partition, commit in self.app.partitions.committable(self.app.lane).items():
            tp = TP(topic, partition)
            news = self._last_commit.get(tp, (None, ""))[0] != commit[0] or commit[1].endswith(HANDED_OVER)
            if news and tp in ours:
                new[tp] = commit
        if not new:
            return False
        if crashpoints.armed:
            crashpoints.reached("before_commit")
        if not await self._committed(new):
            return False
        self._last_commit.update(new)
        return True

    async def _committed(self, commits: Mapping[TP, tuple[int, str]]) -> bool:
        """Whether the broker has taken these commits, within bounds; whoever calls has waited for those before."""
        committing = asyncio.run_coroutine_threadsafe(self._commit_in_thread(commits), self._thread.thread_loop)
        self._committing = committing
        if not await self._answered():
            log.warning("commit not answered yet", lane=str(self.app.lane))
            return False
        return committing.result()

    async def _answered(self) -> bool:
        """Wait for the commit that is under way, within bounds.

        aiokafka tries for as long as there is no coordinator. It is left to that, and no other one is begun beside it:
        cancelled, it has been seen to take the thread's queue of calls with it.
        """
        within = time.monotonic() + _COMMITTED_WITHIN
        # Looked at again after each wait, and none where it is over: who comes from here begins the only other one.
        while (committing := self._committing) is not None and not committing.done():
            left = within - time.monotonic()
            if left <= 0:
                return False
            await asyncio.wait([asyncio.wrap_future(committing)], timeout=left)
        return True

    async def committed_before(self, numbers: Iterable[int]) -> dict[int, OffsetAndMetadata]:
        """What was last committed of these partitions, by whomever; nothing for one that nobody committed.

        Raises:
            KafkaError: the broker cannot tell now.
            BrokerUnavailableError: no answer in time.
        """
        return await group.asked(self._thread, group.commits, self.app.lane_topic, list(numbers))

    async def own(self, found: Mapping[int, OffsetAndMetadata]) -> None:
        """Have the last commits say no more that their partitions were handed over, before anything of them starts.

        Whoever comes after us must not take our predecessor's word for ours, though we die before our first commit.

        Raises:
            BrokerUnavailableError: not now.
        """
        notes = {number: (commit, read_commit_metadata(commit.metadata)) for number, commit in found.items()}
        commits = {
            TP(self.app.lane_topic, number): (commit.offset, commit_metadata(note.marker))
            for number, (commit, note) in notes.items()
            if note.handed_over
        }
        if commits and not (await self._answered() and await self._committed(commits)):
            raise BrokerUnavailableError(f"the coordinator of {self.app.lane} takes no commits now")

    async def alive(self) -> frozenset[str]:
        """Who is in the group: the workers' names and their ids as members, as both stand in ``status``.

        Raises:
            KafkaError: the broker cannot tell now.
            BrokerUnavailableError: no answer in time.
        """
        found = await group.asked(self._thread, group.members)
        names = {client_id.removesuffix(group.client_suffix(self.app.lane)) for client_id in found.values()}
        return frozenset(found.keys() | names)

    async def _commit_in_thread(self, commits: Mapping[TP, tuple[int, str]]) -> bool:
        """Runs on the loop of the consumer's thread."""
        consumer = self._thread._ensure_consumer()  # noqa: SLF001  (the driver's own way to its aiokafka consumer)
        offsets = {
            driver.ensure_aiokafka_TP(tp): OffsetAndMetadata(offset, metadata)
            for tp, (offset, metadata) in commits.items()
        }
        try:
            await consumer.commit(offsets)
        except (CommitFailedError, IllegalStateError) as error:
            log.info("commit skipped: the group is rebalancing", lane=str(self.app.lane), said=str(error))
            return False
        except KafkaError as error:
            log.warning("commit failed, tried again soon", lane=str(self.app.lane), said=str(error) or repr(error))
            return False
        return True


def _told(offsets: Mapping[TP, int]) -> list[str]:
    return [position(tp.topic, tp.partition, offset) for tp, offset in offsets.items()]
