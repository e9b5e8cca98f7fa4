"""What a thread needs that does the work of a partition alone: membership of a group, and a way to start over."""

import threading
import time
from collections.abc import Callable
from math import inf
from typing import Any, Final

import structlog
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from laneway.kafka.clients import client_config
from schemas.settings import Settings
from schemas.topics import MAX_RECORD_BYTES

log = structlog.get_logger(__name__)

_BACKOFF: Final = 2.0
_LOOK_AGAIN: Final = 0.1


class Membership:
    """A process's membership of a consumer group.

    Args:
        settings: of the process.
        group: its name.
        client_id: of its clients.
        stopping: set when the thread is to end; waits are cut short by it.
    """

    def __init__(self, settings: Settings, group: str, client_id: str, stopping: threading.Event) -> None:
        self._settings = settings
        self._client_id = client_id
        self.group = group
        self._stopping = stopping
        self._seen_at = -inf
        self.member_id = ""
        """As which member the group knows the process; empty before it has joined. From any thread."""

    def joined(self, consumer: Consumer) -> None:
        """The group has given the consumer its share."""
        self.member_id = consumer.memberid() or ""

    def consumer(self, **options: Any) -> Consumer:
        """A new consumer, which has to be told what to subscribe to; what was known of the lease is forgotten."""
        self._seen_at = -inf
        session_timeout = self._settings.worker.session_timeout
        return Consumer(
            {
                **client_config(self._settings, self._client_id),
                "group.id": self.group,
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "partition.assignment.strategy": "cooperative-sticky",
                "session.timeout.ms": int(session_timeout * 1000),
                "heartbeat.interval.ms": int(session_timeout * 250),
                "queued.max.messages.kbytes": 4_096,
                **options,
            }
        )

    def producer(self) -> Producer:
        """A new producer that repeats nothing and is acknowledged by every in-sync replica."""
        return Producer(
            {
                **client_config(self._settings, self._client_id),
                "enable.idempotence": True,
                "acks": "all",
                "linger.ms": 2,
                "message.max.bytes": MAX_RECORD_BYTES,
            }
        )

    def holds(self, consumer: Consumer, place: TopicPartition) -> bool:
        """Whether the group takes us for alive: asked by a commit of ``place``, which changes nothing.

        Blocking: while the group is asked, and a moment where it says no.
        """
        now = time.monotonic()
        if now - self._seen_at < self._settings.worker.session_timeout / 3:
            return True
        try:
            consumer.commit(offsets=[place], asynchronous=False)
        except KafkaException as error:
            log.info("nothing moved: the group rebalances", group=self.group, said=error.args[0].str())
            self._stopping.wait(_LOOK_AGAIN)
            return False
        self._seen_at = now
        return True

    def heard(self, asked_at: float) -> None:
        """The group has taken a commit that was sent at this monotonic time."""
        self._seen_at = asked_at


def again_and_again(session: Callable[[], None], stopping: threading.Event, what: str) -> None:
    """Run ``session`` until ``stopping`` is set, anew when the broker was in trouble."""
    while not stopping.is_set():
        try:
            session()
        except KafkaException as error:
            log.warning("starts again: the broker is in trouble", what=what, said=error.args[0].str())
            stopping.wait(_BACKOFF)
