"""Which of the processes that could run replays does."""

import threading
import time
from collections.abc import Callable
from math import inf
from typing import Final

from confluent_kafka import Consumer, TopicPartition

from laneway.kafka.clients import failure
from laneway.kafka.membership import Membership, again_and_again
from schemas.settings import Settings
from schemas.topics import Topics

_DECIDES: Final = 0
"""Whoever has this partition of the topic runs replays."""
_POLL: Final = 0.1
_REST_WITHIN: Final = 4.0


class Leadership:
    """Takes part in the group ``laneway.replays``, in a thread of its own.

    Delivery: while ``certain`` holds, no other process is the one. A process that was frozen finds it false when it
        wakes, before it appends anything.
    """

    def __init__(self, settings: Settings, changed: Callable[[], None]) -> None:
        topics = Topics(settings.kafka.topic_prefix)
        self._topic = topics.replays
        self._changed = changed
        self._stopping = threading.Event()
        self._group = Membership(settings, topics.replays_group, "laneway-replays", self._stopping)
        # The group lets nobody else in before the session is over, reckoned from the last heartbeat.
        self._trusted = settings.worker.session_timeout * 2 / 3
        self._has = False
        self._certain_until = -inf
        self._resting = threading.Event()
        self._resting.set()
        self._thread = threading.Thread(target=self._run, name="replays-group", daemon=True)

    def start(self) -> None:
        """Join."""
        self._thread.start()

    def stop(self) -> None:
        """Leave. Blocking: until that is done."""
        self._stopping.set()
        self._thread.join()

    @property
    def certain(self) -> bool:
        """Whether this process is the one."""
        return self._has and time.monotonic() < self._certain_until

    def working(self, *, on: bool) -> None:
        """Say whether something is being appended: then the partition is given away a little later."""
        if on:
            self._resting.clear()
        else:
            self._resting.set()

    def _run(self) -> None:
        again_and_again(self._session, self._stopping, "replays")

    def _session(self) -> None:
        consumer = self._group.consumer(**{"queued.max.messages.kbytes": 64, "queued.min.messages": 1})
        consumer.subscribe([self._topic], on_assign=self._take, on_revoke=self._give, on_lost=self._lose)
        try:
            while not self._stopping.is_set():
                message = consumer.poll(_POLL)
                if message is not None:
                    failure(message)
                asked_at = time.monotonic()
                if self._has and self._group.holds(consumer, TopicPartition(self._topic, _DECIDES, 0)):
                    # Within a third of the session it answers from memory, so it may be as old as that.
                    self._certain_until = asked_at + self._trusted / 2
        finally:
            self._lose(consumer, [])
            consumer.close()

    def _take(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        for partition in partitions:
            partition.offset = 0
        consumer.incremental_assign(partitions)
        # Only who has them counts; what they hold is read elsewhere.
        consumer.pause(partitions)
        if any(partition.partition == _DECIDES for partition in partitions):
            self._has = True
            self._changed()

    def _give(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        if any(partition.partition == _DECIDES for partition in partitions):
            self._lose(consumer, partitions)
            self._resting.wait(_REST_WITHIN)

    def _lose(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        if not partitions or any(partition.partition == _DECIDES for partition in partitions):
            self._has = False
            self._certain_until = -inf
            self._changed()
