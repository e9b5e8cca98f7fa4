"""How a submission is written in Python, and its bytes."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, TypedDict

import msgspec

from schemas.task import Priority


class SubmitOptions(TypedDict, total=False):
    """What a submission can say beside type and payload."""

    priority: Priority | str
    delay: timedelta | float
    """Wait this long before the first run, in seconds where it is a number; excludes ``run_at``."""
    run_at: datetime
    expires_at: datetime
    """A task that has not started by then ends ``expired``."""
    ordering_key: str
    """Tasks of one key run one at a time, in the order accepted."""
    max_attempts: int
    timeout: timedelta | float
    """Bound of one attempt, in seconds where it is a number."""
    labels: Mapping[str, str]
    callback_url: str
    idempotency_key: str
    """The same key with the same body is the same task."""


def submission_body(type_name: str, payload: object, options: SubmitOptions) -> bytes:
    """The body of ``POST /api/tasks``.

    Raises:
        TypeError: the payload is neither JSON nor pydantic models.
    """
    body: dict[str, Any] = {"type": type_name, "payload": payload}
    body |= said({name: value for name, value in options.items() if name != "idempotency_key"})
    return msgspec.json.encode(body, enc_hook=plain)


def said(options: Mapping[str, object]) -> dict[str, object]:
    """What was said, as the API takes it."""
    return {
        name: value.total_seconds() if isinstance(value, timedelta) else value
        for name, value in options.items()
        if value is not None
    }


def plain(value: object) -> object:
    """Payloads may be pydantic models or hold them."""
    dump = getattr(value, "model_dump", None)
    if dump is None:
        raise TypeError(f"a payload must be JSON or pydantic models; it holds a {type(value).__name__}")
    return dump(mode="json")
