"""Appends statuses once more whose last record in the log is not their furthest.

Nothing orders what different processes write into one partition: `queued`, on its way through a broker's fail-over, can
come to lie behind `succeeded`. A view is not deceived, but compaction keeps the last record of a key.
"""

import time
from datetime import UTC, datetime
from typing import Final

import structlog
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from ingest.view.store import ViewStore
from laneway.kafka.clients import client_config
from schemas.headers import cloud_event, timestamp
from schemas.settings import Settings

log = structlog.get_logger(__name__)

_EVERY: Final = 1.0
_SOURCE: Final = b"/laneway/view"


class Mender:
    """Mends the log for one view.

    Several views may mend the same: the records are equal, and the second changes nothing.
    """

    def __init__(self, settings: Settings, topic: str) -> None:
        self._config = {**client_config(settings, "laneway-view-mender"), "enable.idempotence": True, "acks": "all"}
        self._topic = topic
        self._producer: Producer | None = None
        self._looked_at = 0.0
        self._seen: set[str] = set()

    def mend(self, store: ViewStore) -> None:
        """Append those that were behind at the last look already, so that a record under way may still come by itself.

        Blocking: never. What was appended is read back and leaves ``behind`` by that; what fails is tried again.
        """
        behind = store.behind
        if self._producer is not None:
            self._producer.poll(0)
        now = time.monotonic()
        if now - self._looked_at < _EVERY or not (behind or self._seen):
            return
        self._looked_at = now
        for task_id in self._seen & behind.keys():
            document = store.document(task_id)
            if document is not None:
                self._append(task_id, behind[task_id], document)
            else:  # deleted meanwhile
                del behind[task_id]
        self._seen = set(behind)

    def _append(self, task_id: str, partition: int, document: bytes) -> None:
        # Made when it is first needed, which for most views is never.
        self._producer = self._producer or Producer(self._config)
        at = timestamp(datetime.now(UTC))

        def answered(error: KafkaError | None, _: Message) -> None:
            if error is not None:
                log.warning("status not mended, tried again", task_id=task_id, said=error.str())

        try:
            self._producer.produce(
                self._topic,
                document,
                task_id.encode(),
                partition,
                answered,
                headers=cloud_event("status", f"{task_id}.mended.{at.decode()}", _SOURCE, at),  # type: ignore[arg-type]  # list is invariant; ours is narrower
            )
        except (BufferError, KafkaException) as error:
            log.warning("status not mended, tried again", task_id=task_id, said=str(error))
        else:
            log.info("status appended once more: an older one lay behind it", task_id=task_id)
