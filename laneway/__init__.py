"""Laneway: a task and event pipeline on Apache Kafka.

The public names; each is imported when it is first used, so that ``import laneway`` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from consumers.consuming import consume as consume
    from consumers.consuming import consume_async as consume_async
    from consumers.results import results as results
    from laneway.client import AsyncClient as AsyncClient
    from laneway.client import Client as Client
    from laneway.context import Context as Context
    from laneway.registry import task as task
    from schemas.errors import LanewayError as LanewayError
    from schemas.errors import PauseKey as PauseKey
    from schemas.errors import Reject as Reject
    from schemas.errors import RetryLater as RetryLater
    from schemas.rate import Rate as Rate
    from schemas.retry import RetryPolicy as RetryPolicy

_HOMES: Final = {
    "AsyncClient": "laneway.client",
    "Client": "laneway.client",
    "Context": "laneway.context",
    "LanewayError": "schemas.errors",
    "PauseKey": "schemas.errors",
    "Rate": "schemas.rate",
    "Reject": "schemas.errors",
    "RetryLater": "schemas.errors",
    "RetryPolicy": "schemas.retry",
    "consume": "consumers.consuming",
    "consume_async": "consumers.consuming",
    "results": "consumers.results",
    "task": "laneway.registry",
}

__all__ = [
    "AsyncClient",
    "Client",
    "Context",
    "LanewayError",
    "PauseKey",
    "Rate",
    "Reject",
    "RetryLater",
    "RetryPolicy",
    "consume",
    "consume_async",
    "results",
    "task",
]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import a public name from its home."""
    if name not in _HOMES:
        raise AttributeError(f"module 'laneway' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
