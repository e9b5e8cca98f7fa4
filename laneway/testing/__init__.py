"""The test kit: a user's handlers in their own pytest, by the worker's own rules, without a broker and in virtual time.

The public names; each is imported when it is first used, so that pytest finds the plugin without importing the kit.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from laneway.testing.crashes import Crash as Crash
    from laneway.testing.letters import DeadLetter as DeadLetter
    from laneway.testing.letters import PostedCallback as PostedCallback
    from laneway.testing.sandbox import Sandbox as Sandbox

_HOMES: Final = {
    "Crash": "laneway.testing.crashes",
    "DeadLetter": "laneway.testing.letters",
    "PostedCallback": "laneway.testing.letters",
    "Sandbox": "laneway.testing.sandbox",
}

__all__ = ["Crash", "DeadLetter", "PostedCallback", "Sandbox"]


def __getattr__(name: str) -> Any:
    """Import a public name from its home."""
    if name not in _HOMES:
        raise AttributeError(f"module 'laneway.testing' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
