"""One small Faust app for each lane: a consumer group and an agent that hands every record on, unacknowledged.

Nearly all that a record costs in Faust is spent once for each event. So an event here is a batch: ``streams.batches``
lets each partition's fetched records through as one, ``LaneConsumer`` wraps them as one message.
"""

import asyncio
from collections.abc import AsyncIterator
from functools import cached_property
from typing import Any, Final, cast

import faust
from faust.tables.manager import TableManager
from faust.tables.recovery import Recovery
from faust.transport.drivers import aiokafka as driver
from faust.types import EventT, StreamT
from mode import Seconds
from mode.services import WaitArgT
from mode.supervisors import CrashingSupervisor
from mode.utils.queues import FlowControlEvent

from schemas.settings import Settings
from schemas.task import Lane
from schemas.topics import Topics
from streams.batches import Batches, BatchTopic
from streams.lane_consumer import LaneConsumer, Partitions, Record

BATCH: Final = 300
"""Most records of a partition that are handed over at once."""
_FOREVER: Final = 10.0 * 365 * 86400
_NEVER_IDLE: Final = 20.0 * 86_400
_BUFFERED_BATCHES: Final = 4
_AT_ONCE: Final = 100
"""Records that are admitted before the loop looks at what else there is: two or three milliseconds."""
_FETCH_BYTES: Final = 256 * 1024
"""Of a partition and request: a worker has dozens of partitions, each of which may hold one answer in memory."""


class _Recovery(Recovery):
    """What ends a rebalance: seeks, and lets the records flow.

    Faust's own ends for good, and says nothing, when a seek takes longer than a request may; ours are tried until the
    next rebalance.
    """

    async def _wait(self, coro: WaitArgT, timeout: Seconds | None = None) -> None:
        await super()._wait(coro)


class _NoTables(TableManager):
    """Starts at once: Faust's waits a second for tables, of which there are none."""

    @property
    def recovery(self) -> Recovery:
        """Ours."""
        if self._recovery is None:
            self._recovery = _Recovery(self.app, self, beacon=self.beacon, loop=self.loop)
        return self._recovery

    async def on_start(self) -> None:
        """Start what hands the records over."""
        await self._update_channels()
        await self.recovery.start()


class _FlowControl(FlowControlEvent):
    """Resumes without emptying the streams.

    Faust's own throws away what came after the last seek of a rebalance, when the flow was on by then: no other seek
    follows, and nothing comes of it before the next rebalance. What comes twice the trackers recognise.
    """

    def resume(self) -> None:
        """Let records into the streams again."""
        self._suspend.clear()
        self._resume.set()


class _LaneTransport(driver.Transport):
    Consumer = LaneConsumer


class LaneApp(faust.App):
    """The Faust app of one lane."""

    consumer: LaneConsumer
    member_id: str = ""
    """As which member the group has given it partitions; empty before it has."""

    def __init__(self, lane: Lane, settings: Settings, partitions: Partitions, *, client_id: str) -> None:
        topics = Topics(settings.kafka.topic_prefix)
        self.lane = lane
        self.lane_topic = topics.lane(lane)
        self.partitions = partitions
        worker = settings.worker
        self.session_timeout = worker.session_timeout
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
            broker_max_poll_records=BATCH,
            # A lane that takes nothing is held, or full of long tasks: aiokafka would leave the group for that, and
            # come back only with a fetch, which waits for the group. Whether the loop stands still the watch sees.
            broker_max_poll_interval=_NEVER_IDLE,
            consumer_auto_offset_reset="earliest",
            consumer_max_fetch_size=_FETCH_BYTES,
            stream_buffer_maxsize=_BUFFERED_BATCHES,
            # True makes one long task stall every rebalance; what runs is claimed in its status and left alone.
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
            ConsumerScheduler=Batches,
            Topic=BatchTopic,
            TableManager=_NoTables,
        )
        topic = self.topic(self.lane_topic, key_type=bytes, value_type=bytes, value_serializer="raw", internal=False)
        self.agent(topic, name=f"{lane}", concurrency=1)(self._feed)

    def _create_directories(self) -> None:
        """None: there are no tables to keep in the folder that somebody happened to start a worker in."""

    @cached_property
    def flow_control(self) -> FlowControlEvent:
        """What lets records into the streams; emptied by a rebalance that revokes something, before it seeks."""
        return _FlowControl(loop=self.loop)

    def _new_transport(self) -> driver.Transport:
        return _LaneTransport(self.conf.broker_consumer, self)

    @property
    def joining_as(self) -> str:
        """As which member the group knows this lane's consumer, or knew it last; though it has no partitions yet."""
        return (self.consumer.member_id if self.started else "") or self.member_id

    @property
    def lease_holds(self) -> bool:
        """Whether the group certainly takes this lane's consumer for alive."""
        return self.consumer.lease_holds

    async def _feed(self, stream: StreamT[bytes]) -> None:
        """The agent: every batch of the lane, in order, to the dispatcher, which waits when it is full."""
        events: AsyncIterator[EventT[Any]] = stream.noack().events()  # type: ignore[attr-defined]  # not in its interface
        admit, lane = self.partitions.admit, self.lane
        async for event in events:
            message = event.message
            # Records fetched before a rebalance come again from the committed offset; these copies are stale.
            records = cast("list[Record]", message.value)
            for first in range(0, len(records), _AT_ONCE):
                if first:
                    await asyncio.sleep(0)
                if message.generation_id != self.consumer_generation_id:
                    break
                await admit(lane, records[first : first + _AT_ONCE])


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
