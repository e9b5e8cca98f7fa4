"""Processes that exist only in a test, and what runs in them."""

from collections.abc import Callable
from contextvars import ContextVar
from typing import Final


class Life:
    """Whether a process is alive; one that is dead does nothing more.

    Args:
        parent: dies with it.
    """

    def __init__(self, parent: "Life | None" = None) -> None:
        self._parent = parent
        self._dead = False

    @property
    def dead(self) -> bool:
        """Whether it is over."""
        return self._dead or (self._parent is not None and self._parent.dead)

    def end(self) -> None:
        """From now on nothing of it goes on."""
        self._dead = True


class Run:
    """One run of a handler, with every task and thread that it makes.

    Args:
        life: of the process that it runs in.
        waits: called each time that it begins to wait.
    """

    def __init__(self, life: Life, waits: Callable[[], None]) -> None:
        self.life = life
        self.waits = waits
        self.over = False
        """Nobody waits for it any more."""

    @property
    def counts(self) -> bool:
        """Whether anything waits for what it does."""
        return not (self.over or self.life.dead)


current_run: Final[ContextVar[Run | None]] = ContextVar("laneway_testing_run", default=None)
"""Whose task this is; tasks that it makes inherit it."""
