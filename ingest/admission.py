"""From the bytes of a submission to the records that accept it. No I/O."""

import difflib
import hashlib
import re
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple, TypeVar
from zlib import crc32

import msgspec
from msgspec import UNSET

from ingest.plain import PlainTasks, shared_headers
from ingest.violations import invalid, violation
from laneway.ids import id_for_key, random_hex
from laneway.kafka.wire import EncodedRecord, encoded_record
from laneway.receivers import check_callback_url
from laneway.registry import Registry, TaskType
from schemas.codec import decode, encode
from schemas.errors import (
    BodyTooLargeError,
    IdempotencyConflictError,
    InvalidTaskError,
    MalformedRequestError,
    PayloadError,
    TypeNotFoundError,
)
from schemas.headers import Delivery, Headers, cloud_event, delivery_headers, timestamp
from schemas.outcome import Event
from schemas.settings import Settings, variable
from schemas.status import State, Status
from schemas.task import MAX_DELAY_SECONDS, Lane, Task, TaskSubmission
from schemas.topics import Topics, partition_of, rung_for

Decoded = TypeVar("Decoded")

SOURCE: Final = b"/laneway/ingest"
MAX_KEY_LENGTH: Final = 255
_DECODER: Final = msgspec.json.Decoder(TaskSubmission)
_ARRAY_DECODER: Final = msgspec.json.Decoder(list[TaskSubmission])
_RAW_ARRAY_DECODER: Final = msgspec.json.Decoder(list[msgspec.Raw])
_TRACEPARENT: Final = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_NO_DELAY: Final = timedelta(0)


class Acceptance(NamedTuple):
    """A task that passed admission: what to append, and what to answer once the log has it."""

    id: str
    lane: Lane
    state: State
    document: bytes
    """The status document."""
    partition: int
    """One number in every topic."""
    task: EncodedRecord
    status: EncodedRecord
    event: EncodedRecord


class Claim(NamedTuple):
    """A request's claim on the id that its idempotency key decides."""

    document: bytes
    """The status document to be, with the claim's name."""
    record: EncodedRecord


class Moment(NamedTuple):
    """What all tasks of one request share."""

    now: datetime
    stamp: bytes
    traceparent: bytes
    headers: bytes
    """Of every record that accepts a plain task, but for the record's own id and kind."""


def moment(traceparent: bytes | None = None, now: datetime | None = None) -> Moment:
    """Now, with the request's trace context, or a new one where it has none that is valid."""
    now = now or datetime.now(UTC)
    if traceparent is not None and _TRACEPARENT.fullmatch(traceparent):
        trace = traceparent
    else:
        trace = f"00-{random_hex(16)}-{random_hex(8)}-01".encode()
    stamp = timestamp(now)
    return Moment(now, stamp, trace, shared_headers(SOURCE, stamp, trace))


def decode_submission(body: bytes) -> TaskSubmission:
    """The submission in ``body``.

    Raises:
        AdmissionError: as ``decode_body``.
    """
    return decode_body(_DECODER, body)


def decode_body(decoder: msgspec.json.Decoder[Decoded], body: bytes) -> Decoded:
    """What ``decoder`` makes of ``body``.

    Raises:
        MalformedRequestError: no JSON in UTF-8, or nested too deeply.
        InvalidTaskError: JSON, but not what is wanted.
    """
    try:
        # msgspec passes over the payload without looking into its strings.
        body.decode()
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        found = violation(str(error))
        raise InvalidTaskError(f"{found['at'] or 'the body'}: {found['why']}", violations=[found]) from error
    except UnicodeDecodeError as error:
        raise MalformedRequestError(f"the body is not UTF-8: {error.reason} at byte {error.start}") from error
    except msgspec.DecodeError as error:
        raise MalformedRequestError(f"the body is not JSON: {error}") from error
    except RecursionError as error:
        raise MalformedRequestError("the body is nested too deeply") from error


def decode_batch(body: bytes, *, lines: bool) -> list[TaskSubmission] | None:
    """All submissions of a batch in one go; ``None`` where one of them may be none, for a look at each by itself.

    Args:
        body: of the request.
        lines: whether it is one submission a line, else a JSON array.
    """
    try:
        body.decode()
        return _DECODER.decode_lines(body) if lines else _ARRAY_DECODER.decode(body)
    except (UnicodeDecodeError, msgspec.DecodeError, RecursionError):
        return None


def split_batch(body: bytes, *, lines: bool) -> list[bytes] | list[msgspec.Raw]:
    """The submissions of a batch as they came, whatever each of them is.

    Raises:
        MalformedRequestError: no JSON array in UTF-8.
        InvalidTaskError: JSON, but no array.
    """
    if lines:
        return [line for line in body.split(b"\n") if line.strip()]
    try:
        body.decode()
        return _RAW_ARRAY_DECODER.decode(body)
    except msgspec.ValidationError as error:
        raise InvalidTaskError("the body is no array of tasks", violations=[{"at": "", "why": str(error)}]) from error
    except (UnicodeDecodeError, msgspec.DecodeError) as error:
        raise MalformedRequestError(f"the body is no JSON array in UTF-8: {error}") from error
    except RecursionError as error:
        raise MalformedRequestError("the body is nested too deeply") from error


def fingerprint(body: bytes) -> str:
    """Digest of a submission that neither white space nor the order of its fields changes.

    Raises:
        MalformedRequestError: nested too deeply.
    """
    try:
        canonical = msgspec.json.encode(msgspec.json.decode(body), order="sorted")
    except (RecursionError, msgspec.DecodeError) as error:
        raise MalformedRequestError(f"the body cannot be compared: {error}") from error
    return hashlib.sha256(canonical).hexdigest()


def keyed_id(key: str) -> str:
    """The id that an ``Idempotency-Key`` decides.

    Raises:
        MalformedRequestError: empty or too long.
    """
    if not 0 < len(key) <= MAX_KEY_LENGTH:
        raise MalformedRequestError(f"Idempotency-Key has {len(key)} characters; want 1 to {MAX_KEY_LENGTH}")
    return id_for_key(key)


def check_body(earlier: Status, digest: str) -> None:
    """Raises IdempotencyConflictError: what is there already for a key is of another body."""
    if earlier.fingerprint != digest:
        raise IdempotencyConflictError(
            "this Idempotency-Key was used with another body; use a new key for a new task", id=earlier.id
        )


class Admission:
    """Decides about submissions, and makes the records of those that it lets in.

    The records of one task go to one partition number in every topic, so that whoever owns a lane's partition finds
    the task's status in the same one.
    """

    def __init__(self, settings: Settings, registry: Registry) -> None:
        topics = Topics(settings.kafka.topic_prefix)
        self._partitions = settings.kafka.partitions
        self._max_payload = settings.api.max_payload_bytes
        self._registry = registry
        self._callbacks = settings.callbacks
        self._types = {task_type.name: task_type for task_type in registry}
        self._topics = topics
        self._status_topic = topics.status
        self._events_topic = topics.events
        self._lanes: dict[tuple[str, str], str] = {}
        self._plain = PlainTasks(topics)

    def type_of(self, name: str) -> TaskType:
        """The type of this name.

        Raises:
            TypeNotFoundError: none; names those that there are.
        """
        found = self._types.get(name)
        if found is not None:
            return found
        known = self._registry.names
        near = difflib.get_close_matches(name, known, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise TypeNotFoundError(f"no task type {name!r}{hint}", known=known)

    def accept(
        self,
        submission: TaskSubmission,
        moment: Moment,
        task_id: str,
        fingerprint: str | None = None,
        *,
        created_at: datetime | None = None,
        since: datetime | None = None,
    ) -> Acceptance:
        """Check a submission and make its records.

        Args:
            submission: what is asked for.
            moment: of the request.
            task_id: of the task.
            fingerprint: of its request, where that has a key.
            created_at: when it was asked for, if that is not the moment; a delay counts from then.
            since: given where there may be a record of this task in the log already: nothing was told of its run before
                this time.

        Raises:
            AdmissionError: it is refused, and why.
        """
        task_type = self._types.get(submission.type) or self.type_of(submission.type)
        payload = bytes(submission.payload)
        if len(payload) > self._max_payload:
            raise BodyTooLargeError(
                f"the payload has {len(payload)} bytes; this API takes {self._max_payload}. Put large content into a"
                " file (POST /api/files) and refer to it",
                limit=self._max_payload,
            )
        try:
            task_type.validate(payload)
        except PayloadError as error:
            raise InvalidTaskError(str(error), violations=error.violations) from error
        if fingerprint is None and _is_plain(submission):
            return self._accept_plain(submission, payload, moment, task_id, task_type)
        if submission.callback_url is not None:
            self._check_callback(submission.callback_url)
        created_at = created_at or moment.now
        due = self._due(submission, created_at)
        state = State.QUEUED if due is None else State.SCHEDULED
        labels = submission.labels
        task = Task(
            id=task_id,
            type=submission.type,
            payload=submission.payload,
            priority=submission.priority,
            created_at=created_at,
            max_attempts=submission.max_attempts,
            timeout=submission.timeout,
            run_at=due,
            expires_at=submission.expires_at,
            ordering_key=submission.ordering_key,
            labels=labels,
            callback_url=submission.callback_url,
            fingerprint=fingerprint,
        )
        document = encode(
            Status(
                id=task_id,
                type=submission.type,
                priority=submission.priority,
                state=state,
                max_attempts=submission.max_attempts or task_type.retry.max_attempts,
                created_at=created_at,
                updated_at=created_at,
                not_before=due,
                labels=labels,
                ordering_key=submission.ordering_key,
                fingerprint=fingerprint,
                callback_url=submission.callback_url or UNSET,
            )
        )
        return self._records(task, state, document, moment, since)

    def _accept_plain(
        self, submission: TaskSubmission, payload: bytes, moment: Moment, task_id: str, task_type: TaskType
    ) -> Acceptance:
        """As the rest of ``accept``, for the many tasks that say nothing but type, payload and priority."""
        plain = self._plain.of(task_type.name, submission.priority, task_type.retry.max_attempts)
        key = task_id.encode()
        partition = crc32(key) % self._partitions
        records = plain.records(key, payload, partition, moment.stamp, moment.headers)
        return Acceptance(task_id, Lane(task_type.name, submission.priority), State.QUEUED, *records)

    def claim(self, accepted: Acceptance, moment: Moment, name: str) -> Claim:
        """The record that claims a task's id for one request, by a name that no other has.

        It lies where the id alone says, not the ordering key: requests that differ in that, too, meet in one partition.
        """
        document = encode(msgspec.structs.replace(decode(accepted.document, Status), claim=name))
        key = accepted.id.encode()
        headers = cloud_event("status", f"{accepted.id}.claim.{name}", SOURCE, moment.stamp, moment.traceparent)
        partition = crc32(key) % self._partitions
        return Claim(document, encoded_record(self._status_topic, partition, key, document, headers))

    def _records(self, task: Task, state: State, document: bytes, moment: Moment, since: datetime | None) -> Acceptance:
        partition = partition_of(task.partition_key, self._partitions)
        key = task.id.encode()
        event = Event(
            id=task.id, type=task.type, priority=task.priority, state=state, at=moment.now, not_before=task.run_at
        )
        step = f"{task.id}.1.{state.value}"
        return Acceptance(
            task.id,
            task.lane,
            state,
            document,
            partition,
            self._task_record(task, key, partition, moment, since),
            encoded_record(
                self._status_topic,
                partition,
                key,
                document,
                cloud_event("status", step, SOURCE, moment.stamp, moment.traceparent),
            ),
            encoded_record(
                self._events_topic,
                partition,
                key,
                encode(event),
                cloud_event("event", step, SOURCE, moment.stamp, moment.traceparent),
            ),
        )

    def _task_record(
        self, task: Task, key: bytes, partition: int, moment: Moment, since: datetime | None
    ) -> EncodedRecord:
        headers: Headers = cloud_event("task", f"{task.id}.1", SOURCE, moment.stamp, moment.traceparent)
        value = encode(task)
        if task.run_at is not None or since is not None:
            headers += delivery_headers(Delivery(not_before=task.run_at, repeated=since is not None, since=since))
        if task.run_at is not None:
            rung = rung_for(task.run_at - moment.now)
            if rung is not None:
                return encoded_record(self._topics.retry(rung), partition, key, value, headers)
        lane = (task.type, task.priority.value)
        topic = self._lanes.get(lane)
        if topic is None:
            topic = self._lanes[lane] = self._topics.lane(task.lane)
        record_key = key if task.ordering_key is None else task.ordering_key.encode()
        return encoded_record(topic, partition, record_key, value, headers)

    def _check_callback(self, url: str) -> None:
        """Raises InvalidTaskError: nothing is posted there, as far as that can be said now."""
        if self._callbacks.secrets is None:
            raise invalid("/callback_url", f"callbacks are off: {variable('callbacks.secrets')} is not set")
        try:
            check_callback_url(url, self._callbacks.networks)
        except ValueError as error:
            raise invalid("/callback_url", str(error)) from error

    @staticmethod
    def _due(submission: TaskSubmission, now: datetime) -> datetime | None:
        """When the task is due, if that is not now.

        Raises:
            InvalidTaskError: both ways to say it, or too far away.
        """
        if submission.delay is not None:
            if submission.run_at is not None:
                raise invalid("/delay", "give delay or run_at, not both")
            return now + timedelta(seconds=submission.delay) if submission.delay > 0 else None
        if submission.run_at is None:
            return None
        wait = submission.run_at - now
        if wait > timedelta(seconds=MAX_DELAY_SECONDS):
            raise invalid("/run_at", f"further away than {MAX_DELAY_SECONDS // 86_400} days")
        return submission.run_at.astimezone(UTC) if wait > _NO_DELAY else None


def _is_plain(submission: TaskSubmission) -> bool:
    """Whether it says nothing but type, payload and priority."""
    return (
        not submission.labels
        and submission.ordering_key is None
        and submission.max_attempts is None
        and submission.timeout is None
        and submission.delay is None
        and submission.run_at is None
        and submission.expires_at is None
        and submission.callback_url is None
    )
