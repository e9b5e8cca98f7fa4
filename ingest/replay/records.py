"""The records that a replay appends. No I/O."""

import hashlib
from datetime import datetime
from typing import Final, NamedTuple

import msgspec
from msgspec import Raw

from ingest.plain import shared_headers
from ingest.replay.judging import Judged
from laneway.ids import random_hex
from laneway.kafka.wire import EncodedRecord, encoded_record, joined_record, own_header, record_header
from laneway.registry import Registry
from schemas.codec import encode
from schemas.headers import (
    CE_ID,
    KIND_HEADERS,
    REPLAYED_FROM,
    TRACEPARENT,
    Delivery,
    cloud_event,
    delivery_headers,
    header,
    timestamp,
)
from schemas.outcome import Event
from schemas.replay import RUN, Replay, ReplayPlan, ReplayRun, replay_key
from schemas.status import State, Status
from schemas.task import Lane, Priority
from schemas.topics import Topics, partition_of

SOURCE: Final = b"/laneway/replay"
_PARTS: Final = msgspec.json.Decoder(dict[str, Raw])
_SHADOW_DIGEST: Final = 16
"""Bytes: an id of a shadow run is as good as random."""
_LEFT_OUT: Final = ("run_at", "expires_at", "schedule")
"""Of a task of long ago they are over: it runs at once, its time to begin is past, and its schedule has had its end."""
_LEFT_OUT_OF_SHADOWS: Final = (*_LEFT_OUT, "ordering_key", "callback_url", "fingerprint")
"""Nobody is told of a shadow run, and it takes nobody's turn."""
_TASK_KIND, _STATUS_KIND, _EVENT_KIND = (record_header(*KIND_HEADERS[kind]) for kind in ("task", "status", "event"))
_CE_ID: Final = CE_ID.encode()
_FROM: Final = REPLAYED_FROM.encode()
_QUEUED: Final = f".{State.QUEUED.value}".encode()
_TRACE_LENGTH: Final = 55
_SHARED_COUNT: Final = len(cloud_event("task", "", SOURCE, b"", b""))
"""Headers of every record: what kind it is, its own id, and the shared ones."""


class Replayed(NamedTuple):
    """The records of a task's next generation."""

    id: str
    task: EncodedRecord
    told: list[EncodedRecord]
    """Status and event, which follow the task: where there is a status, the task is in its lane. None of a shadow."""


class ReplayRecords:
    """Builds records for one job."""

    def __init__(self, replay: Replay, topics: Topics, partitions: int, registry: Registry) -> None:
        self._replay = replay
        self._id = Raw(encode(replay.id))
        self._topics = topics
        self._status, self._events = topics.status, topics.events
        self._partitions = partitions
        self._attempts = {each.name: each.retry.max_attempts for each in registry}
        self._lanes: dict[Lane, str] = {}

    def shadow(self, judged: Judged, now: datetime) -> Replayed:
        """A run of a selected task that is no run of that task: of the generation that it compares, under its own id.

        The id follows from the job and the task, so that a record which a crash repeats asks for the same run.
        """
        former = judged.past.task
        own = shadow_id(self._replay.id, former.id, former.generation)
        parts = self._parts(judged, _LEFT_OUT_OF_SHADOWS)
        parts["id"] = Raw(encode(own))
        parts["priority"] = Raw(encode(Priority.LOW))
        # A trace of its own, too: the task's is that of its runs.
        headers = cloud_event("task", own, SOURCE, timestamp(now), _new_trace())
        headers.append((REPLAYED_FROM, judged.past.position.encode()))
        headers += delivery_headers(Delivery(shadow_of=former.id))
        topic = self._lane(Lane(former.type, Priority.LOW))
        record = encoded_record(topic, judged.past.partition, own.encode(), encode(parts), headers)
        return Replayed(former.id, record, [])

    def _parts(self, judged: Judged, left_out: tuple[str, ...]) -> dict[str, Raw]:
        """The task's own fields, with what every record of the job says instead."""
        past = judged.past
        # What this version does not know is kept.
        parts = _PARTS.decode(past.value)
        for name in left_out:
            parts.pop(name, None)
        parts["replay_id"] = self._id
        if judged.payload is not None:
            parts["payload"] = Raw(judged.payload)
        if past.task.created_at is None:
            parts["created_at"] = Raw(encode(past.created_at))
        return parts

    def _lane(self, lane: Lane) -> str:
        topic = self._lanes.get(lane)
        if topic is None:
            topic = self._lanes[lane] = self._topics.lane(lane)
        return topic

    def task(self, judged: Judged, now: datetime, since: datetime | None) -> Replayed:
        """A selected task once more: its own bytes but for payload, priority, generation and what is over.

        Args:
            judged: the task.
            now: when.
            since: given where this job may have appended it already: nothing was told of its run before this time.
        """
        past, status = judged.past, judged.status
        former = past.task
        generation = judged.generation + 1
        priority = self._replay.priority or former.priority
        parts = self._parts(judged, _LEFT_OUT)
        parts["generation"] = Raw(b"%d" % generation)
        parts["priority"] = Raw(b'"%s"' % priority.value.encode())
        created_at = past.created_at
        trace = header(past.headers, TRACEPARENT)
        if trace is None or len(trace) != _TRACE_LENGTH:
            trace = _new_trace()
        # Three records of a task have most of their headers in common, and a job has hundreds of thousands of tasks.
        shared = shared_headers(SOURCE, timestamp(now), trace)
        number, key = past.partition, former.id.encode()
        step = b"%b.%d" % (key, generation)
        headers = [_TASK_KIND, own_header(_CE_ID, step), shared, own_header(_FROM, past.position.encode())]
        count = _SHARED_COUNT + 1
        if since is not None:
            doubt = delivery_headers(Delivery(repeated=True, since=since))
            headers += (record_header(*each) for each in doubt)
            count += len(doubt)
        topic = self._lane(Lane(former.type, priority))
        record = joined_record(topic, number, former.partition_key.encode(), encode(parts), count, *headers)
        queued = Status(
            id=former.id,
            type=former.type,
            priority=priority,
            state=State.QUEUED,
            max_attempts=former.max_attempts
            or (status.max_attempts if status is not None else self._attempts[former.type]),
            created_at=created_at,
            updated_at=now,
            labels=former.labels,
            ordering_key=former.ordering_key,
            generation=generation,
            replay_id=self._replay.id,
            fingerprint=former.fingerprint,
        )
        event = Event(
            id=former.id, type=former.type, priority=priority, state=State.QUEUED, at=now, generation=generation
        )
        told = own_header(_CE_ID, step + _QUEUED), shared
        return Replayed(
            former.id,
            record,
            [
                joined_record(self._status, number, key, encode(queued), _SHARED_COUNT, _STATUS_KIND, *told),
                joined_record(self._events, number, key, encode(event), _SHARED_COUNT, _EVENT_KIND, *told),
            ],
        )


def _new_trace() -> bytes:
    return f"00-{random_hex(16)}-{random_hex(8)}-01".encode()


def shadow_id(replay_id: str, task_id: str, generation: int) -> str:
    """The id of the shadow run of a task."""
    named = f"{replay_id}\0{task_id}\0{generation}".encode()
    return f"shadow-{hashlib.blake2b(named, digest_size=_SHADOW_DIGEST).hexdigest()}"


def part_record(
    topics: Topics, partitions: int, replay_id: str, part: str, value: ReplayPlan | ReplayRun, now: datetime
) -> EncodedRecord:
    """A record of a job."""
    key = replay_key(replay_id, part)
    stamp = timestamp(now)
    event_id = f"{key.decode()}.{stamp.decode()}.{random_hex(4)}"
    return encoded_record(
        topics.replays,
        partition_of(replay_id, partitions),
        key,
        encode(value),
        cloud_event("replay", event_id, SOURCE, stamp),
    )


def run_record(topics: Topics, partitions: int, replay_id: str, run: ReplayRun) -> EncodedRecord:
    """How far a job is."""
    return part_record(topics, partitions, replay_id, RUN, run, run.updated_at)
