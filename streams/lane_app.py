"""One small Faust app for each lane: a consumer group, an agent, and commits that never pass an open record.

Faust 0.15.3 commits past records that are still in flight (faust #606), forgets acknowledgements at a rebalance
(#502) and books a failed commit as done (#316). So its acknowledgements are not used at all: the agent hands every
event to the dispatcher without an ack, and ``LaneConsumer`` commits what the dispatcher's trackers allow.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final, Protocol

import faust
import structlog
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError
from aiokafka.structs import OffsetAndMetadata
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, EventT, StreamT
from faust.types.tuples import Message
from mode.supervisors import CrashingSupervisor

from schemas.settings import Settings
from schemas.task import Lane
from schemas.topics import Topics

log = structlog.get_logger(__name__)

_FOREVER: Final = 10.0 * 365 * 86400


class Partitions(Protocol):
    """What the dispatcher does for one lane; the other side of the app."""

    async def admit(self, lane: Lane, message: Message) -> None:
        """Take a record; returns when there is room for the next."""

    def assigned(self, lane: Lane, partitions: set[int]) -> None:
        """The lane's consumer now has these partitions, and no others."""

    def revoked(self, lane: Lane, partitions: set[int]) -> None:
        """The lane's consumer has lost these partitions."""

    def committable(self, lane: Lane) -> Mapping[int, tuple[int, str]]:
        """For each assigned partition with something delivered: the offset to commit, and the commit's metadata."""


class LaneConsumer(driver.Consumer):
    """Faust's consumer with our commits."""

    app: "LaneApp"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._last_commit: dict[TP, tuple[int, str]] = {}

    def track_message(self, message: Message) -> None:
        """Nothing: the dispatcher tracks."""

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Commit what is done while the partitions are still ours, then let go of them."""
        await self.commit()
        for tp in revoked:
            self._last_commit.pop(tp, None)
        self.app.partitions.revoked(self.app.lane, {tp.partition for tp in revoked})
        await super().on_partitions_revoked(revoked)

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """Make trackers before the first record can come."""
        self.app.partitions.assigned(self.app.lane, {tp.partition for tp in assigned})
        await super().on_partitions_assigned(assigned, generation_id)

    async def force_commit(self, topics: object = None, start_new_transaction: bool = True) -> bool:
        """Commit the contiguous prefix of each partition.

        Delivery: a commit that fails is tried again at the next interval; until then the broker knows an older, and
            so safe, position.
        """
        topic = self.app.lane_topic
        ours = self.assignment()
        new: dict[TP, tuple[int, str]] = {}
        for partition, commit in self.app.partitions.committable(self.app.lane).items():
            tp = TP(topic, partition)
            if tp in ours and self._last_commit.get(tp, (None, ""))[0] != commit[0]:
                new[tp] = commit
        if not new:
            return False
        if not await self._thread.call_thread(self._commit_in_thread, new):
            return False
        self._last_commit.update(new)
        return True

    async def _commit_in_thread(self, commits: Mapping[TP, tuple[int, str]]) -> bool:
        """Runs on the loop of the consumer's thread."""
        consumer = self._thread._ensure_consumer()  # noqa: SLF001  (the driver's own way to its aiokafka consumer)
        try:
            await consumer.commit(
                {
                    driver.ensure_aiokafka_TP(tp): OffsetAndMetadata(offset, metadata)
                    for tp, (offset, metadata) in commits.items()
                }
            )
        except (CommitFailedError, IllegalStateError) as error:
            log.info("commit skipped: the group is rebalancing", lane=str(self.app.lane), said=str(error))
            return False
        except KafkaError as error:
            log.warning("commit failed, tried again soon", lane=str(self.app.lane), said=str(error) or repr(error))
            return False
        return True


class _LaneTransport(driver.Transport):
    Consumer = LaneConsumer


class LaneApp(faust.App):
    """The Faust app of one lane."""

    def __init__(
        self, lane: Lane, settings: Settings, partitions: Partitions, *, prefetch: int, client_id: str
    ) -> None:
        topics = Topics(settings.kafka.topic_prefix)
        self.lane = lane
        self.lane_topic = topics.lane(lane)
        self.partitions = partitions
        worker = settings.worker
        super().__init__(
            topics.group(lane),
            broker=[f"aiokafka://{address.strip()}" for address in settings.bootstrap_servers.split(",")],
            broker_client_id=client_id,
            broker_session_timeout=worker.session_timeout,
            broker_heartbeat_interval=worker.session_timeout / 4,
            broker_request_timeout=max(30.0, worker.session_timeout),
            broker_rebalance_timeout=max(10.0, worker.session_timeout),
            broker_commit_interval=worker.commit_interval,
            broker_commit_every=2**62,  # by interval alone
            broker_max_poll_records=500,
            # The loop runs no user code, so a long poll interval only means a loop that stands still.
            broker_max_poll_interval=60.0,
            consumer_auto_offset_reset="earliest",
            stream_buffer_maxsize=prefetch,
            # True makes one long task stall every rebalance; what runs is recognised by its id when it is redelivered.
            stream_wait_empty=False,
            stream_processing_timeout=_FOREVER,  # its detector cries wolf (faust #503); the supervisor watches lag
            broker_commit_livelock_soft_timeout=_FOREVER,
            topic_allow_declare=False,
            topic_disable_leader=True,
            table_standby_replicas=0,
            producer_request_timeout=30.0,
            key_serializer="raw",
            value_serializer="raw",
            agent_supervisor=CrashingSupervisor,
            web_enabled=False,
            autodiscover=False,
            worker_redirect_stdouts=False,
        )
        topic = self.topic(self.lane_topic, key_type=bytes, value_type=bytes, value_serializer="raw", internal=False)
        self.agent(topic, name=f"{lane}", concurrency=1)(self._feed)

    def _new_transport(self) -> driver.Transport:
        return _LaneTransport(self.conf.broker_consumer, self)

    async def _feed(self, stream: StreamT[bytes]) -> None:
        """The agent: every event of the lane, in order, to the dispatcher, which waits when it is full."""
        events: AsyncIterator[EventT[Any]] = stream.noack().events()  # type: ignore[attr-defined]  # not in its interface
        admit, lane = self.partitions.admit, self.lane
        async for event in events:
            message = event.message
            # A record fetched before a rebalance comes again from the committed offset; this copy is stale.
            if message.generation_id == self.consumer_generation_id:
                await admit(lane, message)


async def start_apps(apps: list[LaneApp]) -> None:
    """Start every app; returns once each has its consumer running.

    Raises:
        Exception: the first failure, with the others stopped.
    """
    loop = asyncio.get_running_loop()
    for app in apps:
        app.loop = loop
        app.finalize()
    await asyncio.gather(*(app.start() for app in apps))
