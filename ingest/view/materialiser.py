"""The one process that writes the view: reads ``status`` from where the view stands, and applies it."""

import sqlite3
import threading
import time
from datetime import UTC, datetime
from typing import Final

import structlog
from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient

from ingest.view import schema
from ingest.view.mender import Mender
from ingest.view.notices import NoticeWriter
from ingest.view.store import StatusRecord, ViewStore
from laneway.kafka.clients import client_config, reader_config
from schemas.errors import BrokerUnavailableError
from schemas.settings import Settings
from schemas.topics import Topics

log = structlog.get_logger(__name__)

_BATCH: Final = 5_000
_PACE: Final = ((1_000, 0.025), (5, 0.015), (0, 0.003))
"""After so many records at once the next are applied so many seconds later: fewer transactions leave more for everybody
else."""
_HIGH: Final = b'"priority":"high"'
_HIGH_PACE: Final = 0.003
"""So many seconds after records of `high` ones the next of these are applied."""
_MANY: Final = 10
_SHARE: Final = 4
"""`High` ones are applied before the others of their batch where these are so many, and so many times as many."""
_BEGIN: Final = 300
"""Bytes of a status within which its priority stands: behind its id and its type."""
_ASK_TIMEOUT: Final = 5.0
_RETRY_SECONDS: Final = 0.5
_PRUNE_EVERY: Final = 60.0


class ClusterChangedError(Exception):
    """The topic is another one than the view was built from, or lost its end."""


class Materialiser:
    """Keeps the view of a data directory up to date until it is told to stop.

    Delivery: the effect of each record and the position after it are one transaction, so that none is missed; what is
        told of a `high` task may be applied before, and then changes nothing again.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._topic = Topics(settings.kafka.topic_prefix).status
        self._path = schema.database(settings.data_dir)
        self._notices = NoticeWriter(self._path.parent)
        self._stopping = threading.Event()
        self._doubtful = threading.Event()
        """Set when a connection was lost: who knows which cluster answers next."""
        self._next_at = 0.0
        self._next_high_at = 0.0
        self._admin = AdminClient(client_config(settings, "laneway-view-admin"))

    def stop(self) -> None:
        """Have ``run`` return soon; works from a signal handler and from any thread."""
        self._stopping.set()

    def run(self) -> None:
        """Apply records until ``stop``; trouble with the broker or the file is waited out and mended.

        Blocking: until ``stop``.
        """
        while not self._stopping.is_set():
            try:
                identity = self._identity()
                self._doubtful.clear()
                store = ViewStore(self._path, identity, self._settings.kafka.partitions)
            except (BrokerUnavailableError, sqlite3.Error, OSError) as error:
                log.warning("status view waits", reason=str(error))
                self._stopping.wait(_RETRY_SECONDS)
                continue
            try:
                self._follow(store, identity)
            except ClusterChangedError as error:
                log.warning("status view is built anew", reason=str(error))
                store.close()
                schema.remove(self._path)
            except sqlite3.DatabaseError as error:
                log.error("status view: the file cannot be written", reason=str(error))
                self._stopping.wait(_RETRY_SECONDS)
            finally:
                store.close()

    def _identity(self) -> str:
        """What tells this topic of this cluster from every other, one of the same name included."""
        try:
            cluster = self._admin.list_topics(self._topic, timeout=_ASK_TIMEOUT).cluster_id
            asked = self._admin.describe_topics(TopicCollection([self._topic]), request_timeout=_ASK_TIMEOUT)
            return f"{cluster}/{asked[self._topic].result(_ASK_TIMEOUT + 1).topic_id}"
        except (KafkaException, TimeoutError) as error:
            raise BrokerUnavailableError(f"cannot ask for topic {self._topic}: {error}") from error

    def _follow(self, store: ViewStore, identity: str) -> None:
        consumer = self._consumer()
        try:
            stored = store.positions()
            partitions = range(self._settings.kafka.partitions)
            consumer.assign(
                [TopicPartition(self._topic, each, stored.get(each, OFFSET_BEGINNING)) for each in partitions]
            )
            log.info("status view follows", topic=self._topic, positions=stored)
            pruned_at = time.monotonic()
            mender = Mender(self._settings, self._topic)
            while not self._stopping.is_set():
                messages = self._messages(consumer)
                if messages:
                    if self._doubtful.is_set():
                        self._confirm(identity)
                    self._apply(store, messages)
                    self._next_at = time.monotonic() + next(
                        seconds for count, seconds in _PACE if len(messages) >= count
                    )
                mender.mend(store)
                store.bound_log()
                if time.monotonic() - pruned_at > _PRUNE_EVERY and not store.prune(datetime.now(UTC)):
                    # Until then a step follows each batch of records, so that it keeps up with what comes in.
                    pruned_at = time.monotonic()
        finally:
            consumer.close()

    def _messages(self, consumer: Consumer) -> list[Message]:
        """What there is now, so that a lone record is seen at once; a little later when some were applied just now.

        What is told of a `high` task waits for others for 3 ms at most.
        """
        messages: list[Message] = []
        urgent = False
        wait = 0.2
        while (first := consumer.poll(wait)) is not None:
            new = [first, *consumer.consume(_BATCH - len(messages), 0)]
            messages += new
            urgent = urgent or any(_is_urgent(message.value()) for message in new)
            until = min(self._next_at, self._next_high_at) if urgent else self._next_at
            wait = until - time.monotonic()
            if wait <= 0 or len(messages) >= _BATCH:
                break
        if urgent:
            self._next_high_at = time.monotonic() + _HIGH_PACE
        return messages

    def _confirm(self, identity: str) -> None:
        try:
            changed = self._identity() != identity
        except BrokerUnavailableError:
            return  # still in doubt: asked again with the next records, which change nothing for the worse
        self._doubtful.clear()
        if changed:
            raise ClusterChangedError("another cluster or topic answers")

    def _apply(self, store: ViewStore, messages: list[Message]) -> None:
        records: list[StatusRecord] = []
        positions: dict[int, int] = {}
        for message in messages:
            error = message.error()
            partition, offset = message.partition(), message.offset()
            if error is not None:
                if error.code() == KafkaError._PARTITION_EOF and partition is not None and offset is not None:
                    # Says where the log ends, which may be beyond the last record: compaction leaves gaps.
                    positions[partition] = offset
                else:
                    self._judge(error)
            elif partition is not None and offset is not None:
                records.append(StatusRecord(partition, offset, message.key(), message.value()))
                positions[partition] = offset + 1
        if not positions:
            return
        urgent, others = urgent_first(records)
        if urgent:
            store.apply(self._topic, urgent, {})
            self._notices.send()
        store.apply(self._topic, others, positions)
        self._notices.send()

    def _judge(self, error: KafkaError) -> None:
        if error.code() == KafkaError._AUTO_OFFSET_RESET:
            raise ClusterChangedError("the topic has no such position any more")
        log.warning("status view: the client reports", error=error.name(), reason=error.str())

    def _consumer(self) -> Consumer:
        return Consumer(
            {
                **reader_config(self._settings, "laneway-view", "view"),
                "auto.offset.reset": "error",
                "enable.partition.eof": True,
                "fetch.wait.max.ms": 500,
                "queued.min.messages": 20_000,
                "queued.max.messages.kbytes": 32_768,
                "error_cb": self._connection_lost,
            }
        )

    def _connection_lost(self, error: KafkaError) -> None:
        self._doubtful.set()
        log.debug("status view: connection", error=error.name(), reason=error.str())


def urgent_first(records: list[StatusRecord]) -> tuple[list[StatusRecord], list[StatusRecord]]:
    """What is told of `high` tasks among many others, and the rest; all are the rest where that gains little.

    Ordering: what was written under one key stays together, in its order.
    """
    urgent = [record for record in records if _is_urgent(record.value)]
    if not urgent or len(records) - len(urgent) < max(_MANY, _SHARE * len(urgent)):
        return [], records
    keys = {record.key for record in urgent}
    split: tuple[list[StatusRecord], list[StatusRecord]] = [], []
    for record in records:
        split[record.key not in keys].append(record)
    return split


def _is_urgent(document: bytes | None) -> bool:
    return _HIGH in (document or b"")[:_BEGIN]
