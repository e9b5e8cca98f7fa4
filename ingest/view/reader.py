"""The reading side of the view, in an API process."""

import asyncio
import contextlib
import os
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Final, TypeVar

import structlog

from ingest.view import schema
from ingest.view.counts import Counts, read_counts
from ingest.view.keys import read_holder
from ingest.view.lanes import LaneTasks, read_lanes
from ingest.view.listing import Listing, Page, read_page
from ingest.view.minutes import Minutes, read_minutes
from ingest.view.notices import NoticeReader
from laneway.kafka.ends import LogEnds
from schemas.errors import BrokerUnavailableError, UnavailableError
from schemas.settings import Settings
from schemas.status import Status
from schemas.task import Lane
from schemas.topics import Topics

log = structlog.get_logger(__name__)

POLL_SECONDS: Final = 0.02
"""How often the file is looked at while anybody waits, should a notice of the writer's have been missed."""
_REOPEN_SECONDS: Final = 0.5
_LISTING_THREADS: Final = 2
_FEW: Final = 20
"""Waiting for that many tasks, it is cheaper to search the changes for them than to take the changes apart."""

T = TypeVar("T")


class ViewReader:
    """Answers from the view's file.

    A look-up by id runs on the loop: it takes microseconds, a tenth of what a thread switch costs. Listings run in
    threads with connections of their own.

    Raises:
        UnavailableError: (every read) there is no view yet, or it is being built anew.
    """

    def __init__(self, settings: Settings) -> None:
        self._path: Path = schema.database(settings.data_dir)
        self._bound = settings.api.accept_timeout
        self._connection: sqlite3.Connection | None = None
        self._inode = 0
        self._looked_at = 0.0
        self._version = -1
        self._seq = 0
        self._waiters: dict[str, set[asyncio.Event]] = {}
        self._moved = asyncio.Event()
        """Set and replaced whenever the view has changed."""
        self._anybody = asyncio.Event()
        self._notices = NoticeReader(self._path.parent, self._noticed)
        self._waiting = 0
        self._watcher: asyncio.Task[None] | None = None
        self._released = False
        self._ends = LogEnds(settings, [Topics(settings.kafka.topic_prefix).status])
        self._threads = ThreadPoolExecutor(_LISTING_THREADS, "laneway-listing")
        self.target: dict[int, int] | None = None
        """Where the log ended when this process started; reaching it makes the view caught up."""
        self._caught_up = False

    async def start(self) -> None:
        """Begin to watch the file."""
        self._notices.open()
        self._watcher = asyncio.create_task(self._watch())

    async def close(self) -> None:
        """Let go of the file; whoever waits is answered with what there is."""
        self.release()
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.gather(self._watcher, return_exceptions=True)
        self._notices.close()
        await self._ends.close()
        self._threads.shutdown(wait=True)
        self._disconnect()

    def release(self) -> None:
        """Wake whoever waits, now and from now on: the process is about to stop."""
        self._released = True
        self._wake_all()

    def find(self, task_id: str) -> bytes | None:
        """The status document of a task, if the view has it."""
        row = self._read(
            lambda connection: connection.execute("SELECT document FROM tasks WHERE id = ?", (task_id,)).fetchone()
        )
        return row[0] if row else None

    async def find_strongly(self, task_id: str, patience: float = 0.0) -> bytes | None:
        """The status document of a task; ``None`` is the truth: the log had no such task when this was called.

        Args:
            task_id: of the task.
            patience: seconds that it has to come by itself before the log is asked where it ends. What another process
                has just accepted comes within milliseconds, and then the question costs more than the wait.

        Raises:
            UnavailableError: it cannot be known now.
        """
        found = self.find_quietly(task_id)
        if found is None and patience:
            found = await self._comes(task_id, patience)
        if found is not None:
            return found
        await self.reach(await self.ends(), or_=lambda: self.find_quietly(task_id) is not None)
        return self.find(task_id)

    async def _comes(self, task_id: str, patience: float) -> bytes | None:
        async with self.changes_of(task_id) as changed:
            timer = asyncio.get_running_loop().call_later(patience, changed.set)
            await changed.wait()
            timer.cancel()
        return self.find_quietly(task_id)

    def find_quietly(self, task_id: str) -> bytes | None:
        """As ``find``, but a view that is not there has nothing."""
        try:
            return self.find(task_id)
        except UnavailableError:
            return None

    def find_claim(self, task_id: str) -> bytes | None:
        """The first claim on an id, which may have a status by now."""
        row = self._read(
            lambda connection: connection.execute("SELECT document FROM claims WHERE id = ?", (task_id,)).fetchone()
        )
        return row[0] if row else None

    async def holder(self, status: Status) -> Status | None:
        """The task of its lane and ordering key that a queued one waits behind, as far as the view knows."""

        def read() -> Status | None:
            with self._own() as connection:
                return read_holder(connection, status)

        return await asyncio.get_running_loop().run_in_executor(self._threads, read)

    async def page(self, listing: Listing) -> Page:
        """A page of tasks."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._page, listing)

    async def minutes(self, since: datetime, types: list[str]) -> Minutes:
        """How many tasks came in each minute from ``since`` on, and what became of them."""

        def read() -> Minutes:
            with self._own() as connection:
                return read_minutes(connection, since, types)

        return await asyncio.get_running_loop().run_in_executor(self._threads, read)

    async def lanes(self, lanes: Sequence[Lane]) -> dict[Lane, LaneTasks]:
        """Since when the oldest task of each lane waits, how many run, and how long tasks waited."""

        def read() -> dict[Lane, LaneTasks]:
            with self._own() as connection:
                return read_lanes(connection, lanes)

        return await asyncio.get_running_loop().run_in_executor(self._threads, read)

    async def counts(self) -> Counts:
        """How many tasks there are of each lane and state."""

        def read() -> Counts:
            with self._own() as connection:
                return read_counts(connection)

        return await asyncio.get_running_loop().run_in_executor(self._threads, read)

    def applied(self) -> dict[int, int]:
        """Offset of the next record to apply, by partition; empty before the first."""
        try:
            return self._read(lambda connection: dict(connection.execute("SELECT partition, next FROM positions")))
        except UnavailableError:
            return {}

    async def ends(self) -> dict[int, int]:
        """Where the log ends now.

        Raises:
            UnavailableError: the broker does not answer.
        """
        try:
            found = await self._ends.ask()
        except BrokerUnavailableError as error:
            raise UnavailableError(f"the log cannot be asked: {error}") from error
        return {number: end for (_, number), end in found.items()}

    async def reach(self, positions: dict[int, int], *, or_: Callable[[], bool] = lambda: False) -> None:
        """Wait until the view has applied everything before ``positions``, or until ``or_`` is true; bounded.

        Raises:
            UnavailableError: it has not in time.
        """
        deadline = time.monotonic() + self._bound
        async with self._wait() as moved:
            while self._behind(positions) and not or_():
                left = deadline - time.monotonic()
                if left <= 0 or self._released:
                    raise UnavailableError("the status view is behind the log, so it cannot know yet; ask again")
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(moved().wait(), left)

    def behind(self) -> int | None:
        """Records until the view has caught up with where the log ended at the start; ``None``: not known yet."""
        if self._caught_up:
            return 0
        if self._connection is None:  # an empty log is caught up with at once, but without a file nobody can read it
            self._notice_replacement()
        if self.target is None or self._connection is None:
            return None
        left = self._behind(self.target)
        self._caught_up = left == 0
        return left

    async def lag(self) -> int:
        """Records of ``status`` that are in the log now and not in the view yet.

        Raises:
            UnavailableError: the broker does not answer, or there is no view yet.
        """
        ends = await self.ends()
        if self._connection is None:
            raise UnavailableError("the status view is being built")
        return self._behind(ends)

    @contextlib.asynccontextmanager
    async def changes_of(self, task_id: str) -> AsyncIterator[asyncio.Event]:
        """An event that is set whenever the task's status changes; clear it before reading the status."""
        event = asyncio.Event()
        self._waiters.setdefault(task_id, set()).add(event)
        if self._released:
            event.set()
        try:
            async with self._wait():
                yield event
        finally:
            events = self._waiters[task_id]
            events.discard(event)
            if not events:
                del self._waiters[task_id]

    @property
    def released(self) -> bool:
        """Whether the process is about to stop, so that nobody should wait any longer."""
        return self._released

    def _behind(self, positions: dict[int, int]) -> int:
        applied = self.applied()
        return sum(max(0, end - applied.get(partition, 0)) for partition, end in positions.items())

    @contextlib.asynccontextmanager
    async def _wait(self) -> AsyncIterator[Callable[[], asyncio.Event]]:
        """While the block runs the file is watched closely; gives the event of the next change."""
        self._waiting += 1
        self._anybody.set()
        try:
            yield lambda: self._moved
        finally:
            self._waiting -= 1
            if not self._waiting:
                self._anybody.clear()

    def _noticed(self) -> None:
        if self._waiting:
            with contextlib.suppress(UnavailableError):
                self._look()

    async def _watch(self) -> None:
        while True:
            await self._anybody.wait()
            with contextlib.suppress(UnavailableError):
                self._look()
            await asyncio.sleep(POLL_SECONDS)

    def _look(self) -> None:
        version = self._read(lambda connection: connection.execute("PRAGMA data_version").fetchone()[0])
        if version == self._version:
            return
        self._version = version
        changed = self._read(
            lambda connection: connection.execute(
                "SELECT seq, ids FROM changes WHERE seq > ? ORDER BY seq", (self._seq,)
            ).fetchall()
        )
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()
        if not changed:
            return
        # A gap: notes were dropped before they were read, after a pause without anybody waiting. Then anything may
        # have changed.
        gap = changed[0][0] > self._seq + 1
        self._seq = changed[-1][0]
        if gap or any(ids is None for _, ids in changed):
            self._wake_all()
            return
        for _, ids in changed:
            self._wake(ids)

    def _wake(self, ids: str) -> None:
        if len(self._waiters) <= _FEW:
            for task_id, events in self._waiters.items():
                if task_id in ids:
                    for event in events:
                        event.set()
            return
        for task_id in ids.split("\n"):
            for event in self._waiters.get(task_id, ()):
                event.set()

    def _wake_all(self) -> None:
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()
        for events in self._waiters.values():
            for event in events:
                event.set()

    def _read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        now = time.monotonic()
        if now - self._looked_at > _REOPEN_SECONDS:
            self._looked_at = now
            self._notice_replacement()
        if self._connection is None:
            raise UnavailableError("there is no status view yet; it is being built from the log")
        try:
            return query(self._connection)
        except sqlite3.Error as error:
            log.warning("status view cannot be read", reason=str(error))
            self._disconnect()
            raise UnavailableError("the status view cannot be read; it is being built anew from the log") from error

    def _notice_replacement(self) -> None:
        """A view that is built anew is another file of the same name."""
        try:
            inode = os.stat(self._path).st_ino  # noqa: PTH116  (a Path's costs three times as much)
        except FileNotFoundError:
            self._disconnect()
            return
        if inode == self._inode and self._connection is not None:
            return
        self._disconnect()
        try:
            self._connection = schema.connect(self._path, read_only=True)
        except sqlite3.Error:
            return  # not made yet, or damaged and about to be replaced
        self._inode = inode
        self._seq = self._connection.execute("SELECT coalesce(max(seq), 0) FROM changes").fetchone()[0]
        self._version = -1
        self._caught_up = False
        self._wake_all()

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _page(self, listing: Listing) -> Page:
        with self._own() as connection:
            return read_page(connection, listing)

    @contextlib.contextmanager
    def _own(self) -> Iterator[sqlite3.Connection]:
        """A connection for a thread."""
        try:
            with contextlib.closing(schema.connect(self._path, read_only=True)) as connection:
                yield connection
        except sqlite3.Error as error:
            raise UnavailableError("the status view cannot be read; it is being built from the log") from error
