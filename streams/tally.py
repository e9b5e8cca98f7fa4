"""What a worker process has counted, in a file that outlives its death."""

import mmap
import os
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

from laneway.measures import Cells, Histogram, width
from schemas.metrics import Metric
from schemas.settings import Settings

_MAGIC: Final = b"LWTALLY1"
_HEAD: Final = struct.Struct("<8sQ")
_CELL: Final = 8

Key = tuple[str, tuple[str, ...]]
"""(name of a metric, values of its labels)"""


class _Told(msgspec.Struct, array_like=True):
    pid: int
    series: list[tuple[str, tuple[str, ...], int]]
    """Name, labels and number of cells of each, in the order of the cells."""


class Tally:
    """The cells of a fixed set of series.

    Counting is an addition in memory that is mapped from a file: no system call, and the kernel keeps the file when the
    process is killed. The file says itself what lies where, so that a supervisor of another release reads it rightly.

    Args:
        series: metrics with the values of their labels, but for `worker`, which whoever reads the file knows.
        path: where; an older file is replaced. Without one the cells are in memory alone.
    """

    def __init__(self, series: Iterable[tuple[Metric, tuple[str, ...]]], path: Path | None = None) -> None:
        self._places: dict[Key, int] = {}
        told = _Told(os.getpid(), [])
        at = 0
        for metric, labels in series:
            self._places[metric.name, labels] = at
            told.series.append((metric.name, labels, width(metric)))
            at += width(metric)
        self.cells: Cells = [0] * at
        """Whole numbers; each is written by one thread alone."""
        if path is not None:
            self.cells = _mapped(path, msgspec.json.encode(told), at)

    def at(self, metric: Metric, *labels: str) -> int:
        """Where the cell of a counter or a gauge lies, or the first of a histogram."""
        return self._places[metric.name, labels]

    def histogram(self, metric: Metric, *labels: str) -> Histogram:
        """One series of a histogram."""
        return Histogram(metric, self.cells, self.at(metric, *labels))


def _mapped(path: Path, head: bytes, cells: int) -> Cells:
    path.parent.mkdir(parents=True, exist_ok=True)
    first = -(-(_HEAD.size + len(head)) // _CELL) * _CELL
    unfinished = path.with_name(f"{path.name}.tmp")
    with unfinished.open("w+b") as file:
        file.truncate(first + cells * _CELL)
        area = mmap.mmap(file.fileno(), first + cells * _CELL)
    area[: _HEAD.size + len(head)] = _HEAD.pack(_MAGIC, len(head)) + head
    unfinished.replace(path)
    return memoryview(area)[first:].cast("q")


def read_tally(path: Path, pid: int | None = None) -> dict[Key, tuple[int, ...]]:
    """The cells of every series of a process, by name and labels; none without a file, or with that of another process.

    Args:
        path: where.
        pid: of the process; ``None`` for whichever it was.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return {}
    if len(data) < _HEAD.size:
        return {}
    magic, length = _HEAD.unpack_from(data)
    if magic != _MAGIC:
        return {}
    told = msgspec.json.decode(data[_HEAD.size : _HEAD.size + length], type=_Told)
    if pid is not None and told.pid != pid:
        return {}
    at = -(-(_HEAD.size + length) // _CELL) * _CELL
    found: dict[Key, tuple[int, ...]] = {}
    for name, labels, number in told.series:
        found[name, labels] = struct.unpack_from(f"={number}q", data, at)
        at += number * _CELL
    return found


def tally_path(settings: Settings) -> Path | None:
    """Where this worker process counts; ``None`` for one that nobody supervises."""
    name = settings.worker.name
    return settings.data_dir / "workers" / f"{name}.tally" if name else None
