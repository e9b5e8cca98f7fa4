"""Dead letters and callbacks as tests look at them."""

from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct

from schemas import codec
from schemas.callback import Callback, CallbackPayload
from schemas.headers import ATTEMPT, DLQ_AT, DLQ_ERROR, DLQ_REASON, DLQ_SOURCE, DLQ_WORKER, ERRORS, Headers, header
from schemas.status import ErrorInfo
from schemas.task import Task


class DeadLetter(Struct, frozen=True, kw_only=True):
    """A task that will not be tried again by itself, as ``tasks.<type>.dlq`` has it."""

    task_id: str
    reason: str
    """In a word: ``rejected``, ``exhausted``, ``not_retriable``, ``poison``, …"""
    error: ErrorInfo
    errors: tuple[ErrorInfo, ...]
    """Every failure that spent an attempt, oldest first."""
    attempt: int
    value: bytes
    """The task's bytes exactly as they were accepted."""
    at: datetime
    source: str
    """Where the record lay, as ``topic-partition@offset``."""
    worker: str
    headers: list[tuple[str, bytes]]

    @property
    def task(self) -> Task:
        """The task as it was accepted."""
        return codec.decode(self.value, Task)

    @property
    def payload(self) -> Any:
        """The task's payload."""
        return msgspec.json.decode(self.task.payload)


def dead_letter(key: bytes | None, value: bytes | None, headers: Headers) -> DeadLetter:
    """What a record of ``tasks.<type>.dlq`` says."""

    def said(name: str) -> bytes:
        return header(headers, name) or b""

    return DeadLetter(
        task_id=(key or b"").decode(),
        reason=said(DLQ_REASON).decode(),
        error=msgspec.json.decode(said(DLQ_ERROR), type=ErrorInfo),
        errors=msgspec.json.decode(said(ERRORS) or b"[]", type=tuple[ErrorInfo, ...]),
        attempt=int(said(ATTEMPT) or b"0"),
        value=value or b"",
        at=datetime.fromisoformat(said(DLQ_AT).decode()),
        source=said(DLQ_SOURCE).decode(),
        worker=said(DLQ_WORKER).decode(),
        headers=headers,
    )


class PostedCallback(Struct, frozen=True, kw_only=True):
    """A request to a task's ``callback_url``, as far as it is the same each time that it is sent."""

    id: str
    """``webhook-id``."""
    url: str
    body: Callback


def posted_callback(value: bytes | None) -> PostedCallback:
    """Read a callback's task."""
    task = codec.decode(value, Task)
    payload = CallbackPayload.model_validate_json(bytes(task.payload))
    return PostedCallback(id=task.id, url=payload.url, body=codec.decode(codec.encode(payload.body), Callback))
