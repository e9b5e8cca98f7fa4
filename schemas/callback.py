"""What is posted to a task's ``callback_url``, and the payload of the task that posts it."""

from datetime import timedelta
from typing import Any, Final

from msgspec import Struct

from schemas.outcome import Outcome
from schemas.payloads.model import Payload
from schemas.retry import RetryPolicy
from schemas.task import AwareDatetime

POLICY: Final = RetryPolicy(max_attempts=12, first_delay=timedelta(seconds=5), factor=4.0, max_delay=timedelta(hours=8))
"""Attempts within about a day: waits of at most 5 s, 20 s, 80 s, 5 min, 21 min, 85 min, 6 h, and then 8 h each."""
TASK_LABEL: Final = "task_id"
"""Label of a callback's task: the id of the task whose outcome it posts."""
TYPE_LABEL: Final = "task_type"
"""The same for its type."""


class Callback(Struct, frozen=True, kw_only=True):
    """Body of the request to a ``callback_url``: how a task ended, in the form that Standard Webhooks ask for.

    The header ``webhook-id`` is the same however often it is sent: receivers drop what they have by it.
    """

    type: str
    """`task.` and the final state, such as `task.succeeded`."""
    timestamp: AwareDatetime
    """When the task ended."""
    data: Outcome


class CallbackPayload(Payload):
    """Payload of a callback's task."""

    url: str
    body: dict[str, Any]
    """A ``Callback``."""
