"""Worker processes under supervision: named, watched, started again, and asked what they were doing when they died."""

import asyncio
import os
import re
import signal
import socket
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import structlog

from laneway.kafka.embedded.locking import acquire
from laneway.stack.children import WRONG_USE, Child, ChildEvents, ChildLine
from laneway.stack.metrics import added, metrics_served
from schemas.metrics import METRICS
from schemas.settings import Settings, environment_for
from streams.flight import Phase, Vitals, read_flight, read_vitals
from streams.suspects import SuspectsFile, suspects_of
from streams.tally import Key, read_tally
from streams.watch import STALLED, Stillness

log = structlog.get_logger(__name__)

STOP_MARGIN: Final = timedelta(seconds=20)
"""Beyond the drain: committing, leaving the groups, letting go of the producer."""
FROZEN_MARGIN: Final = 10.0
"""Seconds beyond the stall time-out, at which the process should have ended itself."""
LOOK_EVERY: Final = 1.0
MOST_SLOTS: Final = 1_000

# What operators, machines that shut down and the kernel out of memory send.
_FROM_OUTSIDE: Final = frozenset({signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT})
_ABORTED_WITHIN: Final = 5.0
_GROWING: Final = frozenset(metric.name for metric in METRICS if metric.kind != "gauge")
_LEFT_OVER: Final = timedelta(days=7)


@dataclass(frozen=True)
class WorkerName:
    """The name of one worker process. It outlives a restart, and nobody else on this machine has it meanwhile."""

    text: str
    folder: Path
    lock: int
    """Held by the supervisor and by the process itself, so it is free once both are gone."""

    @property
    def flight(self) -> Path:
        """Where the process notes what it runs."""
        return self.folder / f"{self.text}.flight"

    @property
    def tally(self) -> Path:
        """Where it counts."""
        return self.folder / f"{self.text}.tally"

    @property
    def suspects(self) -> SuspectsFile:
        """Where it finds whom its forerunner left."""
        return SuspectsFile(self.folder / f"{self.text}.suspects")


def claim_names(settings: Settings, count: int) -> list[WorkerName]:
    """Take the first ``count`` names that are free.

    A name is the worker's own (``worker.name``), else the host's with a mark of the data directory, and a number.
    """
    folder = settings.data_dir.absolute() / "workers"
    folder.mkdir(parents=True, exist_ok=True)
    _sweep(folder)
    base = settings.worker.name
    if base is None:
        host = re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname())[:100]
        base = f"{host}-{zlib.crc32(bytes(folder)) & 0xFFFF:04x}"
    names: list[WorkerName] = []
    for number in range(1, MOST_SLOTS):
        if len(names) == count:
            break
        text = f"{base}-{number}"
        lock = acquire(folder / f"{text}.lock")
        if lock is not None:
            names.append(WorkerName(text, folder, lock))
    return names


def _sweep(folder: Path) -> None:
    """Remove what workers of long ago left: in containers, each has a name of its own."""
    oldest = time.time() - _LEFT_OVER.total_seconds()
    for path in folder.iterdir():
        if path.suffix == ".lock" and path.stat().st_mtime < oldest and (lock := acquire(path)) is not None:
            for suffix in (".flight", ".tally", ".suspects", ".members", ".lock"):
                path.with_suffix(suffix).unlink(missing_ok=True)
            os.close(lock)


@dataclass(frozen=True, kw_only=True)
class Death:
    """A worker process ended without having been asked to."""

    worker: str
    label: str
    reason: str
    """See ``death_reason``; ``frozen`` when its supervisor ended it because it could not even end itself."""
    code: int
    """Exit code; negative: the signal."""
    suspects: int
    """How many tasks it was running."""
    wait: timedelta
    """Until it is started again."""


@dataclass(kw_only=True)
class WorkerEvents:
    """Who hears what of a worker process."""

    said: Callable[[str, ChildLine], None]
    """Label, line; of one whose output is read."""
    died: Callable[[Death], None]
    frozen: Callable[[str, float], None]
    """Label, for how many seconds: it is being ended."""


@dataclass
class Record:
    """What became of one worker process so far."""

    restarts: Counter[str] = field(default_factory=Counter)
    """By reason."""
    vitals: Vitals = field(default_factory=Vitals)
    running: int = 0
    stalls: int = 0
    """Of processes that have ended."""
    blocked: int = 0
    counted: dict[Key, tuple[int, ...]] = field(default_factory=dict)
    """What grows, of processes that have ended."""


class SupervisedWorker:
    """One worker process: started, watched from outside, and started again when it dies.

    Delivery: what it was running when it crashed is handed to its successor as suspects, before that one starts.

    Args:
        name: its name, which it keeps.
        settings: what it reads from its environment.
        arguments: options of the command line.
        log: see ``Child``.
        events: who else hears what of it.
        label: what people read; the name by default.
        announces: see ``Child``.
    """

    def __init__(
        self,
        name: WorkerName,
        settings: Settings,
        arguments: Sequence[str],
        *,
        log: Path | None,
        events: WorkerEvents,
        label: str | None = None,
        announces: str | None = None,
    ) -> None:
        self.name = name
        self.record = Record()
        self._frozen_after = settings.worker.stall_timeout + FROZEN_MARGIN
        self._looks = Stillness(2 * LOOK_EVERY)
        self._aborting: int | None = None
        self._events = events
        self._counting = threading.Lock()
        self.label = label or name.text
        name.tally.unlink(missing_ok=True)
        # Left by a supervisor that was killed together with it: nobody has asked yet.
        self._hold_inquest("the end of its supervisor", from_within=False)
        worker = settings.worker.model_copy(update={"name": name.text})
        environment = environment_for(settings.model_copy(update={"worker": worker}))
        if log is not None:
            environment["PYTHONUNBUFFERED"] = "1"
        self.child = Child(
            self.label,
            ["laneway.cli", "worker-process", *arguments],
            environment=environment,
            log=log,
            events=ChildEvents(said=events.said, died=self._on_death),
            announces=announces,
            keep=[name.lock],
        )

    def close(self) -> None:
        """Give the name back; it has ended in order, so nothing that it noted is in doubt."""
        self.name.flight.unlink(missing_ok=True)
        self.name.tally.unlink(missing_ok=True)
        os.close(self.name.lock)

    @property
    def up(self) -> bool:
        """Whether it runs and has its lanes."""
        return self.child.pid is not None and self.record.vitals.phase is Phase.READY

    def look(self, now: float) -> None:
        """Read how it goes, and end it when it stands still so that it cannot even end itself."""
        found = read_vitals(self.name.flight)
        pid = self.child.pid
        if found is None or found[0].pid != pid:
            self._looks.forget()
            self.record.vitals, self.record.running = Vitals(), 0
            return
        self.record.vitals, self.record.running = found
        vitals = found[0]
        if not vitals.looks:  # it has not begun to watch itself
            self._looks.forget()
            return
        still = self._looks.look(now, vitals.looks)
        if still <= self._frozen_after:
            return
        if self._aborting != pid:
            self._aborting = pid
            self._events.frozen(self.label, still)
            self.child.signal(signal.SIGABRT)  # it writes every thread's stack as it dies
        elif still > self._frozen_after + _ABORTED_WITHIN:
            self.child.signal(signal.SIGKILL)

    def _on_death(self, _name: str, code: int, wait: timedelta, _last: list[str]) -> None:
        reason = "frozen" if self._aborting is not None else death_reason(code)
        self._aborting = None
        self.record.restarts[reason] += 1
        self._keep_counts()
        how = f"signal {_signal_name(-code)}" if code < 0 else f"exit code {code}"
        suspects = self._hold_inquest(how, from_within=-code not in _FROM_OUTSIDE and code != STALLED)
        death = Death(worker=self.name.text, label=self.label, reason=reason, code=code, suspects=suspects, wait=wait)
        self._events.died(death)

    def _keep_counts(self) -> None:
        found = read_vitals(self.name.flight)
        if found is not None:
            self.record.stalls += found[0].stalls
            self.record.blocked += found[0].blocked
        self.record.vitals, self.record.running = Vitals(), 0
        with self._counting:
            self.record.counted |= {
                key: added(self.record.counted[key], values) if key in self.record.counted else values
                for key, values in read_tally(self.name.tally).items()
                if key[0] in _GROWING
            }
            self.name.tally.unlink(missing_ok=True)

    def counted(self) -> dict[Key, tuple[int, ...]]:
        """What it has counted so far, earlier processes of this name included; from any thread."""
        with self._counting:  # nothing may be counted twice, or missed, while it dies
            kept, pid = self.record.counted, self.child.pid
            now = read_tally(self.name.tally, pid) if pid is not None else {}
            return kept | {key: added(kept[key], values) if key in kept else values for key, values in now.items()}

    def _hold_inquest(self, how: str, *, from_within: bool) -> int:
        """Have whoever was there at the death told to the successor; answers how many."""
        flights = read_flight(self.name.flight)
        suspects = suspects_of(flights, how=how, from_within=from_within, worker=self.name.text)
        if suspects:
            self.name.suspects.add(suspects)
        # Each death is counted once, however its successor fares before it has a flight of its own.
        self.name.flight.unlink(missing_ok=True)
        return len(suspects)


def death_reason(code: int) -> str:
    """Why a worker process ended, in a word that metrics can carry."""
    if code == STALLED:
        return "stalled"
    if code < 0:
        return _signal_name(-code)
    return "failed" if code else "ended"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


class Fleet:
    """What ``laneway worker`` is: worker processes side by side, kept running until a signal ends them in order.

    Args:
        settings: of all of them.
        arguments: options that each gets.
    """

    def __init__(self, settings: Settings, arguments: Sequence[str]) -> None:
        self._settings = settings
        self._arguments = arguments
        self.workers: list[SupervisedWorker] = []

    async def run(self) -> int:
        """Start them, stay until SIGINT or SIGTERM, and stop them; a second signal does so by force.

        Returns:
            0 after an orderly stop, 1 when one did not end in order, 2 when one cannot start with these settings.

        Raises:
            ConfigurationError: the port for metrics is taken.
        """
        loop = asyncio.get_running_loop()
        asked = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._on_signal, asked)
        heard = WorkerEvents(said=lambda *_: None, died=_log_death, frozen=_log_frozen)
        with metrics_served(self.workers, self._settings.worker) as address:
            if address is not None:
                log.info("metrics served", address=address)
            self.workers += [
                SupervisedWorker(name, self._settings, self._arguments, log=None, events=heard)
                for name in claim_names(self._settings, self._settings.worker.instances)
            ]
            watching = asyncio.create_task(watch_over(self.workers))
            try:
                return await self._until(asked)
            finally:
                watching.cancel()
                for worker in self.workers:
                    worker.close()

    async def _until(self, asked: asyncio.Event) -> int:
        ended = asyncio.create_task(asked.wait())
        hopeless: list[asyncio.Future[Any]] = [worker.child.unstartable for worker in self.workers]
        await asyncio.wait({ended, *hopeless}, return_when=asyncio.FIRST_COMPLETED)
        ended.cancel()
        within = timedelta(seconds=self._settings.worker.drain_timeout) + STOP_MARGIN
        await asyncio.gather(*(worker.child.stop(within) for worker in self.workers))
        if any(future.done() for future in hopeless):
            return WRONG_USE  # it has said itself what it saw and what it wants
        # One that was still importing when it was asked to stop dies of the signal; it had begun nothing.
        return 1 if any(worker.child.last_code not in (0, -signal.SIGTERM) for worker in self.workers) else 0

    def _on_signal(self, asked: asyncio.Event) -> None:
        for worker in self.workers:
            if asked.is_set():
                worker.child.kill()
            else:
                worker.child.request_stop()
        asked.set()


def _log_death(death: Death) -> None:
    log.error(
        "worker died",
        worker=death.worker,
        reason=death.reason,
        code=death.code,
        suspects=death.suspects,
        restart_in_seconds=death.wait.total_seconds(),
    )


def _log_frozen(label: str, seconds: float) -> None:
    log.error("worker frozen: ended by its supervisor", worker=label, seconds=round(seconds, 1))


async def watch_over(workers: Iterable[SupervisedWorker]) -> None:
    """Look after worker processes until cancelled."""
    while True:
        for worker in workers:
            worker.look(time.monotonic())
        await asyncio.sleep(LOOK_EVERY)
