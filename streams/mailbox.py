"""Items from one thread to the loop of another, with one wake-up for each burst."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

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

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: Item) -> None:
        """From any thread: have ``item`` taken. Once the receiver's loop is closed nobody takes it any more."""
        self._items.append(item)
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
