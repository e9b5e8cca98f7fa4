"""Every error of Laneway, in one tree.

    LanewayError
    ├── ConfigurationError          wrong settings or use; seen at the start; exit code 2
    ├── ContractError               never retried: the record is set aside with its original bytes
    │   ├── UndecodableRecordError
    │   ├── UnknownTypeError
    │   ├── PayloadError
    │   └── IllegalTransitionError
    ├── TaskError                   said by or about a handler
    │   ├── RetryLater              a decision, not a failure: spends no attempt
    │   │   └── PauseKey            the same for all tasks of its ordering key
    │   ├── Reject                  never retried
    │   ├── ResultError             the handler's result cannot be published; never retried
    │   ├── CallbackError           the receiver of a callback did not take it
    │   ├── TaskTimeoutError
    │   ├── PoisonError             it crashed the process that ran it, too often; never retried
    │   └── TaskCancelledError
    ├── TransportError              the broker's trouble: never spends an attempt
    │   ├── BrokerUnavailableError
    │   └── RecordTooLargeError
    ├── SinkError                   a sink refuses what is written to it, or is not what it should be
    │   ├── SinkUnavailableError    away for now: waited for
    │   └── SinkFencedError         a newer owner has the partition
    ├── ConsumerGroupError          a group cannot be looked at or moved as asked
    ├── BenchmarkError              a figure could not be taken
    ├── SandboxError                the test kit was used in a way that it cannot serve
    └── AdmissionError              an answer of the API other than success
        ├── MalformedRequestError   400
        ├── CrossSiteRequestError   403
        ├── PageNotFoundError       404
        ├── TaskNotFoundError       404
        ├── GenerationNotFoundError 404
        ├── TypeNotFoundError       404
        ├── FileNotFoundInStoreError 404
        ├── ScheduleNotFoundError   404
        ├── ReplayNotFoundError     404
        ├── TaskFailedError         409
        ├── IdempotencyConflictError 409
        ├── ReplayConflictError     409
        ├── NotWaitingError         409
        ├── TaskGoneError           410
        ├── ResultGoneError         410
        ├── BodyTooLargeError       413
        ├── InvalidTaskError        422
        ├── InvalidReplayError      422
        ├── TooManyRequestsError    429
        └── UnavailableError        503

Whether a thing can be retried, its HTTP status and its log level are data on the class.
"""

import logging
from datetime import UTC, datetime, timedelta
from typing import ClassVar


class LanewayError(Exception):
    """The root: catching it catches everything that Laneway raises on purpose."""

    retriable: ClassVar[bool] = False
    """Whether trying the same thing again can succeed."""
    http_status: ClassVar[int] = 500
    log_level: ClassVar[int] = logging.ERROR


class ConfigurationError(LanewayError):
    """A setting, option or module that the process cannot start with."""

    exit_code: ClassVar[int] = 2

    def __init__(self, setting: str, seen: object, wanted: str) -> None:
        self.setting = setting
        self.seen = seen
        self.wanted = wanted
        super().__init__(f"{setting}: saw {seen!r}, want {wanted}")


class ContractError(LanewayError):
    """A record that breaks the contract; repeating it cannot help."""

    http_status = 422
    log_level = logging.WARNING


class UndecodableRecordError(ContractError):
    """The bytes are not the record that the topic promises."""


class UnknownTypeError(ContractError):
    """No handler is registered for the task's type."""

    def __init__(self, type_name: str, known: list[str]) -> None:
        self.type_name = type_name
        self.known = known
        super().__init__(f"unknown task type {type_name!r}; known types: {', '.join(known) or 'none'}")


class PayloadError(ContractError):
    """The payload is refused by its type's schema.

    Attributes:
        violations: where and why, each ``{"at": "/payload/to/0", "why": "…"}``.
    """

    def __init__(self, type_name: str, violations: list[dict[str, str]]) -> None:
        self.type_name = type_name
        self.violations = violations
        first = violations[0] if violations else {"at": "/payload", "why": "not valid"}
        more = f" (and {len(violations) - 1} more)" if len(violations) > 1 else ""
        super().__init__(f"payload of {type_name!r} refused at {first['at']}: {first['why']}{more}")


class IllegalTransitionError(ContractError):
    """A status that the state machine does not allow to follow."""


class TaskError(LanewayError):
    """Said by a handler, or by the worker about one attempt."""


class RetryLater(TaskError):  # noqa: N818  (the contract's name: a decision, not a failure)
    """Run the task again after ``delay``; spends no attempt.

    Args:
        delay: how long to wait, as a ``timedelta`` or in seconds; never early.
        reason: shown in the status while it waits.
    """

    retriable = True
    log_level = logging.INFO

    def __init__(self, delay: timedelta | float, reason: str = "asked to be run later") -> None:
        self.delay = delay if isinstance(delay, timedelta) else timedelta(seconds=delay)
        if self.delay < timedelta(0):
            raise ValueError(f"RetryLater: the delay is negative ({self.delay}); give zero or more")
        self.reason = reason
        super().__init__(self.delay, reason)

    def __str__(self) -> str:
        return f"{self.reason} (in {self.delay.total_seconds():g} s)"


class PauseKey(RetryLater):
    """Run nothing of this task's ordering key in its lane before ``until``; spends no attempt.

    What a handler raises that met a ``429`` with ``Retry-After``: this task and those behind it keep their turn and
    wait, other keys flow on. Without an ordering key the task waits alone.

    Args:
        until: a point in time with a zone, or how long from now, as a ``timedelta`` or in seconds.
        reason: shown in the status while it waits.
    """

    def __init__(self, until: datetime | timedelta | float, reason: str = "its key is paused") -> None:
        if isinstance(until, datetime):
            if until.tzinfo is None:
                raise ValueError(f"PauseKey: {until.isoformat()} has no time zone; give it one, or say how long")
            until = max(timedelta(0), until - datetime.now(UTC))
        super().__init__(until, reason)


class Reject(TaskError):  # noqa: N818  (the contract's name)
    """The task can never succeed: it goes to the dead letters at once."""

    log_level = logging.WARNING


class ResultError(TaskError):
    """The handler returned something that cannot be published: not JSON, or too large for a record."""


class CallbackError(TaskError):
    """The receiver of a callback did not answer, or did not take it."""

    retriable = True
    log_level = logging.WARNING


class TaskTimeoutError(TaskError):
    """The attempt ran longer than its time-out."""

    retriable = True
    log_level = logging.WARNING


class PoisonError(TaskError):
    """The task crashed the process that ran it, alone in it, and has done so too often: a dead letter."""


class TaskCancelledError(TaskError):
    """The task was cancelled while it ran."""

    log_level = logging.INFO


class TransportError(LanewayError):
    """The broker's trouble. It never spends an attempt: the task did nothing wrong."""

    retriable = True
    http_status = 503


class BrokerUnavailableError(TransportError):
    """No acknowledgement in time, or no broker to ask. What was sent may or may not be in the log."""


class RecordTooLargeError(TransportError):
    """The record exceeds what the broker takes."""

    retriable = False
    http_status = 413


class SinkError(LanewayError):
    """A sink is not what it should be, such as a table with other columns, or refuses this user."""


class SinkUnavailableError(SinkError):
    """The sink cannot be reached or cannot write now. All of the batch was kept, or nothing: writing it again tells."""

    retriable = True
    log_level = logging.WARNING


class SinkFencedError(SinkError):
    """Somebody else has taken the partition over since; nothing was written.

    Attributes:
        partition: which one.
    """

    retriable = True
    log_level = logging.WARNING

    def __init__(self, partition: int, told: str) -> None:
        self.partition = partition
        super().__init__(told)


class ConsumerGroupError(LanewayError):
    """A consumer group cannot be moved as asked: it is live, or there is no such position."""


class BenchmarkError(LanewayError):
    """A figure could not be taken: a part did not start or ended, or the tasks did not come out as they must."""


class SandboxError(LanewayError):
    """The test kit cannot do what a test asks of it: nothing moves any more, or it was called from within a handler."""


class AdmissionError(LanewayError):
    """An answer of the API other than success; becomes a problem document (RFC 9457)."""

    http_status = 400
    log_level = logging.INFO
    slug: ClassVar[str] = "bad-request"
    """Last part of the problem's ``type``."""
    title: ClassVar[str] = "Bad request"

    def __init__(self, detail: str, **extensions: object) -> None:
        self.detail = detail
        self.extensions = extensions
        super().__init__(detail)


class MalformedRequestError(AdmissionError):
    """The body or a parameter is not what the route takes."""

    slug = "malformed-request"
    title = "Malformed request"


class CrossSiteRequestError(AdmissionError):
    """An action of the dashboard was asked for by somebody else's page."""

    http_status = 403
    slug = "cross-site-request"
    title = "Not from this dashboard"


class PageNotFoundError(AdmissionError):
    """The dashboard has nothing under this address."""

    http_status = 404
    slug = "page-not-found"
    title = "There is no such page"


class TaskNotFoundError(AdmissionError):
    """No task of this id was ever accepted."""

    http_status = 404
    slug = "task-not-found"
    title = "Task not found"


class GenerationNotFoundError(AdmissionError):
    """The task has no generation of this number."""

    http_status = 404
    slug = "generation-not-found"
    title = "Generation not found"


class TypeNotFoundError(AdmissionError):
    """No such task type; the answer names the known ones."""

    http_status = 404
    slug = "unknown-type"
    title = "Unknown task type"


class FileNotFoundInStoreError(AdmissionError):
    """No file of this reference is in the file store."""

    http_status = 404
    slug = "file-not-found"
    title = "File not found"


class ScheduleNotFoundError(AdmissionError):
    """There is no schedule of this name."""

    http_status = 404
    slug = "schedule-not-found"
    title = "Schedule not found"


class ReplayNotFoundError(AdmissionError):
    """There is no replay of this id."""

    http_status = 404
    slug = "replay-not-found"
    title = "Replay not found"


class TaskFailedError(AdmissionError):
    """The result was asked for, and the task ended without one."""

    http_status = 409
    slug = "task-failed"
    title = "The task ended without a result"


class IdempotencyConflictError(AdmissionError):
    """The idempotency key was used before with another body."""

    http_status = 409
    slug = "idempotency-conflict"
    title = "Idempotency key used with another body"


class ReplayConflictError(AdmissionError):
    """The replay is not in a state for what is asked of it."""

    http_status = 409
    slug = "replay-conflict"
    title = "The replay cannot do that now"


class NotWaitingError(AdmissionError):
    """The task does not wait for a time that could be changed."""

    http_status = 409
    slug = "not-waiting"
    title = "The task does not wait for its time"


class TaskGoneError(AdmissionError):
    """The task is older than the retention of statuses."""

    http_status = 410
    slug = "task-gone"
    title = "Task past retention"


class ResultGoneError(AdmissionError):
    """How an earlier generation ended is older than the retention of results."""

    http_status = 410
    slug = "result-gone"
    title = "Result past retention"


class BodyTooLargeError(AdmissionError):
    """The body is larger than the API takes."""

    http_status = 413
    slug = "body-too-large"
    title = "Body too large"


class InvalidTaskError(AdmissionError):
    """The task, or the payload by its type's schema, is refused; ``violations`` say where and why."""

    http_status = 422
    slug = "invalid-task"
    title = "Invalid task"


class InvalidReplayError(AdmissionError):
    """The replay is refused: it selects nothing that may be replayed, or cannot be understood."""

    http_status = 422
    slug = "invalid-replay"
    title = "Invalid replay"


class TooManyRequestsError(AdmissionError):
    """Over a limit; ``Retry-After`` says when to come back."""

    http_status = 429
    slug = "too-many-requests"
    title = "Too many requests"


class UnavailableError(AdmissionError):
    """The log cannot take or tell it now; nothing was promised. ``Retry-After`` says when to come back."""

    http_status = 503
    log_level = logging.WARNING
    slug = "unavailable"
    title = "Temporarily unavailable"
