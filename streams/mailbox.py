"""Items from one thread to the loop of another, with one wake-up for each burst."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final, Generic, TypeVar

PACE: Final = 0.002
"""Seconds between two wake-ups by ``put_paced``."""

Item = TypeVar("Item")


class Mailbox(Generic[Item]):
    """Hands items to ``take`` on the loop ``receiver``.

    Ordering: as they were put by one thread. Blocking: never; a put costs a deque's append, and a system call only when
        the receiver is not awake already.
    """

    def __init__(self, receiver: asyncio.AbstractEventLoop, take: Callable[[Item], None]) -> None:
        self._receiver = receiver
        self._take = take
        self._items: deque[Item] = deque()
        self._woken = False
        self._paced = False
        """Whether it will be woken a little later."""
        self._woken_at = 0.0

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: Item) -> None:
        """From any thread: have ``item`` taken. Once the receiver's loop is closed nobody takes it any more."""
        self._items.append(item)
        self._wake()

    def put_paced(self, item: Item, sender: asyncio.AbstractEventLoop) -> None:
        """From the loop ``sender``: have ``item`` taken, a little later when another was a moment ago.

        Waking another thread costs more than most items do; of many in a row, each ``PACE`` wakes it once. A sender
        that is blocked may not come to it: the receiver looks by itself now and then (``collect``).
        """
        self._items.append(item)
        if not (self._woken or self._paced):
            wait = self._woken_at + PACE - sender.time()
            if wait <= 0:
                self._wake_paced(sender)
            else:
                self._paced = True
                sender.call_later(wait, self._wake_paced, sender)

    def collect(self) -> None:
        """On the receiver: take what there is, woken or not."""
        if self._items:
            self._drain()

    def _wake_paced(self, sender: asyncio.AbstractEventLoop) -> None:
        self._paced = False
        self._woken_at = sender.time()
        if self._items:
            self._wake()

    def _wake(self) -> None:
        if not self._woken:
            self._woken = True
            try:
                self._receiver.call_soon_threadsafe(self._drain)
            except RuntimeError:  # the loop is closed
                self._woken = False

    def _drain(self) -> None:
        # Cleared first: whatever is put from here on wakes us again, so none is left lying.
        self._woken = False
        items = self._items
        try:
            while items:
                self._take(items.popleft())
        finally:
            if items:
                self._receiver.call_soon(self._drain)
