"""Which API process of a data directory runs the materialiser, and its care for it."""

import asyncio
import fcntl
import os
import time
from pathlib import Path
from typing import Final

import structlog

from ingest.child import run_child
from ingest.view import schema
from schemas.settings import Settings

log = structlog.get_logger(__name__)

_TAKE_OVER_SECONDS: Final = 1.0
_FIRST_BACKOFF: Final = 0.1
_LONGEST_BACKOFF: Final = 5.0
_HEALTHY_SECONDS: Final = 30.0


class ViewOwner:
    """Runs the materialiser while this process is the first one on the data directory.

    The others look every second whether the place has become free: the kernel frees it when its holder dies, however.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock: Path = schema.database(settings.data_dir).parent / "lock"
        self._task: asyncio.Task[None] | None = None
        self.holds = asyncio.Event()
        """Set once this process is the one."""
        self.pid: int | None = None
        """Process id of the materialiser, if it is ours and runs."""

    async def start(self) -> None:
        """Begin; returns at once."""
        self._task = asyncio.create_task(self._hold())

    async def close(self) -> None:
        """Stop the materialiser, if it is ours, and free the place."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _hold(self) -> None:
        self._lock.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._lock, os.O_CREAT | os.O_RDWR, 0o600)
        try:
            # The kernel tells nobody that a lock has become free, and waiting for it would hold a thread for good.
            while not _locked(descriptor):  # noqa: ASYNC110
                await asyncio.sleep(_TAKE_OVER_SECONDS)
            self.holds.set()
            log.info("status view: this process keeps it", data_dir=str(self._settings.data_dir))
            await self._keep_running()
        finally:
            os.close(descriptor)

    async def _keep_running(self) -> None:
        backoff = _FIRST_BACKOFF
        while True:
            began = time.monotonic()
            code = await self._run()
            if time.monotonic() - began > _HEALTHY_SECONDS:
                backoff = _FIRST_BACKOFF
            log.error("status view: the materialiser ended; it is started again", exit_code=code, after_seconds=backoff)
            await asyncio.sleep(backoff)
            backoff = min(backoff * 2, _LONGEST_BACKOFF)

    async def _run(self) -> int:
        return await run_child(self._settings, "ingest.view", started=self._started)

    def _started(self, pid: int | None) -> None:
        self.pid = pid


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
