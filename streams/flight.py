"""The flight recorder: what a worker process is running, in a file that outlives its death."""

import mmap
import os
import struct
from enum import IntEnum
from pathlib import Path
from typing import Final, NamedTuple

from schemas.settings import Settings

SLOTS: Final = 4096
"""Runs that are noted at once; a file of this many takes 1 MB, of which only what was used is on disk."""

_MAGIC: Final = b"LWFL"
_VERSION: Final = 1
_HEAD: Final = struct.Struct("<4sHHI")
_VITALS: Final = struct.Struct("<IB3xQQQII")
_VITALS_AT: Final = 16
_FIRST_SLOT: Final = 256
# The last byte says whether the slot is taken. It is written after all others, so a death in between leaves it free.
_SLOT: Final = struct.Struct("<dIIIIHB65p101pB")
_SLOT_BYTES: Final = 256
_TAKEN: Final = _SLOT.size - 1


class Phase(IntEnum):
    """Where a worker process is in its life."""

    STARTING = 0
    READY = 1
    STOPPED = 2
    """It ended in order: nothing that it ran is in doubt."""


class Flight(NamedTuple):
    """One run that had begun and not ended."""

    task_id: str
    generation: int
    attempt: int
    deferrals: int
    type: str
    partition: int
    started: float
    """Seconds since the epoch."""
    crashes: int
    """Deaths that it was there at before this run."""
    alone: bool
    """It ran in a process of its own, so the worker's death says nothing about it."""


class Vitals(NamedTuple):
    """What a worker process tells of itself."""

    pid: int = 0
    phase: Phase = Phase.STARTING
    looks: int = 0
    """How often its watch has looked; standing still, the whole process does."""
    finished: int = 0
    """Runs that ended."""
    lag: int = 0
    """Records that wait for it, as far as it knows."""
    blocked: int = 0
    """How often a handler blocked its loop."""
    stalls: int = 0
    """How often the main loop stood still."""


class FlightRecorder:
    """Notes each run at its begin and clears it at its end, about a microsecond for both.

    The file is mapped into memory, so that noting is a copy and no system call; the kernel keeps it when the process is
    killed. It says nothing after the machine itself went down. ``begin`` and ``end`` may be called from any thread.

    Args:
        path: where; an older file is overwritten.
        slots: runs that can be noted at once; those beyond are counted in ``missed``.
    """

    def __init__(self, path: Path, slots: int = SLOTS) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.finished = 0
        """Runs that ended."""
        self.missed = 0
        """Runs that found no slot: a crash would not be laid to their account."""
        unfinished = path.with_name(f"{path.name}.tmp")
        size = _FIRST_SLOT + slots * _SLOT_BYTES
        with unfinished.open("w+b") as file:
            file.truncate(size)
            self._map = mmap.mmap(file.fileno(), size)
        _HEAD.pack_into(self._map, 0, _MAGIC, _VERSION, _SLOT_BYTES, slots)
        self._vitals = Vitals(pid=os.getpid())
        self.tell(self._vitals)
        unfinished.replace(path)
        self._free = list(range(_FIRST_SLOT + (slots - 1) * _SLOT_BYTES, _FIRST_SLOT - 1, -_SLOT_BYTES))
        self._pack = _SLOT.pack_into

    def begin(
        self,
        task_id: str,
        generation: int,
        attempt: int,
        deferrals: int,
        type_name: str,
        partition: int,
        started: float,
        crashes: int = 0,
        alone: bool = False,
    ) -> int:
        """Note a run; answers what ``end`` takes."""
        if not self._free:
            self.missed += 1
            return -1
        at = self._free.pop()
        self._pack(
            self._map,
            at,
            started,
            generation,
            attempt,
            deferrals,
            partition,
            crashes,
            alone,
            task_id.encode(),
            type_name.encode(),
            1,
        )
        return at

    def end(self, slot: int) -> None:
        """The run ended, whatever came of it."""
        self.finished += 1
        if slot >= 0:
            self._map[slot + _TAKEN] = 0
            self._free.append(slot)

    def tell(self, vitals: Vitals) -> None:
        """Tell the parent how it goes."""
        self._vitals = vitals
        _VITALS.pack_into(self._map, _VITALS_AT, *vitals)

    def enter(self, phase: Phase) -> None:
        """Tell the parent that this phase of life begins."""
        self.tell(self._vitals._replace(phase=phase))

    @property
    def vitals(self) -> Vitals:
        """What was told last."""
        return self._vitals

    @property
    def running(self) -> int:
        """Runs that are noted now."""
        return (len(self._map) - _FIRST_SLOT) // _SLOT_BYTES - len(self._free)

    def close(self) -> None:
        """Unmap the file; it stays."""
        self._map.close()


def read_flight(path: Path) -> list[Flight]:
    """The runs that had begun and not ended; none when the process ended in order, or never wrote a file."""
    data = _read(path)
    if data is None or _vitals(data).phase is Phase.STOPPED:
        return []
    flights = []
    for at in range(_FIRST_SLOT, len(data) - _SLOT_BYTES + 1, _SLOT_BYTES):
        if data[at + _TAKEN]:
            started, generation, attempt, deferrals, partition, crashes, alone, task_id, type_name, _ = (
                _SLOT.unpack_from(data, at)
            )
            flights.append(
                Flight(
                    task_id.decode(errors="replace"),
                    generation,
                    attempt,
                    deferrals,
                    type_name.decode(errors="replace"),
                    partition,
                    started,
                    crashes,
                    bool(alone),
                )
            )
    return sorted(flights, key=lambda flight: flight.started)


def read_vitals(path: Path) -> tuple[Vitals, int] | None:
    """What a worker process tells of itself, and how many runs it has noted; ``None`` without a file."""
    data = _read(path)
    if data is None:
        return None
    return _vitals(data), sum(data[at + _TAKEN] for at in range(_FIRST_SLOT, len(data) - _TAKEN, _SLOT_BYTES))


def _vitals(data: bytes) -> Vitals:
    pid, phase, *others = _VITALS.unpack_from(data, _VITALS_AT)
    return Vitals(pid, Phase(phase), *others)


def _read(path: Path) -> bytes | None:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    if len(data) < _FIRST_SLOT:
        return None
    magic, version, slot_bytes, _ = _HEAD.unpack_from(data, 0)
    # Of another release that ran here before: nothing in it can be read with certainty.
    return data if (magic, version, slot_bytes) == (_MAGIC, _VERSION, _SLOT_BYTES) else None


def flight_path(settings: Settings) -> Path | None:
    """Where this worker process notes what it runs; ``None`` for one that nobody supervises."""
    name = settings.worker.name
    return settings.data_dir / "workers" / f"{name}.flight" if name else None
