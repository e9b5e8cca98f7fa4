"""Parts of pages that are rendered once and shown to everybody who looks."""

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

_MOST: Final = 128


class Fragment(NamedTuple):
    """A rendered part of a page, or a document for programs."""

    body: bytes
    etag: str


class Fragments:
    """Renders a part at most once in an interval, however many ask for it.

    Whoever asks while it is being rendered waits for that. Bounded: the parts asked for least recently go first. What
    is lost with the process is rendered again.
    """

    def __init__(self, interval: float) -> None:
        self.interval = interval
        """Seconds for which a part is good."""
        self._kept: OrderedDict[str, tuple[float, asyncio.Future[Fragment]]] = OrderedDict()

    async def get(self, key: str, render: Callable[[], Awaitable[str]]) -> Fragment:
        """The part of this name, not older than the interval.

        Raises:
            Exception: what ``render`` raises, to everybody who waits for it; the next one tries again.
        """
        now = time.monotonic()
        kept = self._kept.get(key)
        if kept is not None and (not kept[1].done() or now - kept[0] < self.interval):
            self._kept.move_to_end(key)
            return await asyncio.shield(kept[1])
        # A task of its own: the one who asked first may leave before the others.
        task = asyncio.create_task(self._render(render))
        self._kept[key] = now, task
        self._kept.move_to_end(key)
        task.add_done_callback(lambda done: self._forget_failure(key, done))
        while len(self._kept) > _MOST:
            self._kept.popitem(last=False)
        return await asyncio.shield(task)

    def forget(self) -> None:
        """Have every part rendered anew for whoever asks next: somebody did something."""
        self._kept.clear()

    @staticmethod
    async def _render(render: Callable[[], Awaitable[str]]) -> Fragment:
        body = (await render()).encode()
        return Fragment(body, f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"')

    def _forget_failure(self, key: str, done: "asyncio.Future[Fragment]") -> None:
        if not done.cancelled() and done.exception() is None:
            return
        kept = self._kept.get(key)
        if kept is not None and kept[1] is done:
            del self._kept[key]
