"""Lines over time as SVG, worked out on the server. No I/O."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

WIDTH: Final = 1_000
HEIGHT: Final = 100
"""Of the drawing's own coordinates; the page stretches it."""
_LABELS: Final = 5


@dataclass(frozen=True)
class Series:
    """One line: a value for each slot of time, or none where it is not known."""

    name: str
    kind: str
    """Which colour: a class of the style sheet."""
    values: Sequence[float | None]


@dataclass(frozen=True)
class Line:
    """A series as it is drawn."""

    name: str
    kind: str
    path: str
    latest: float | None


@dataclass(frozen=True)
class Slot:
    """What is told of one slot of time."""

    at: datetime
    values: list[tuple[str, str, float | None]]
    """Name, kind and value of each series."""


@dataclass(frozen=True)
class Chart:
    """All that a template needs to draw."""

    lines: list[Line]
    slots: list[Slot]
    top: float
    """Value at the upper edge."""
    labels: list[datetime]
    """Times along the lower edge, evenly apart."""

    @property
    def empty(self) -> bool:
        """Whether nothing happened in all its time."""
        return not any(value for slot in self.slots for _, _, value in slot.values)


def chart(series: Sequence[Series], first: datetime, step: timedelta) -> Chart:
    """The lines of ``series``, whose first slot is at ``first``."""
    count = max((len(each.values) for each in series), default=0)
    top = nice(max((value for each in series for value in each.values if value is not None), default=0.0))
    lines = [
        Line(each.name, each.kind, _path(each.values, count, top), each.values[-1] if each.values else None)
        for each in series
    ]
    slots = [
        Slot(first + number * step, [(each.name, each.kind, each.values[number]) for each in series])
        for number in range(count)
    ]
    last = max(count - 1, 0)
    labels = [first + step * round(last * part / (_LABELS - 1)) for part in range(_LABELS)]
    return Chart(lines, slots, top, labels)


def nice(value: float) -> float:
    """The next round number: 1, 2 or 5 times a power of ten; 1 for nothing."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 5, 10) if value <= step * power * (1 + 1e-9))


def _path(values: Sequence[float | None], count: int, top: float) -> str:
    """SVG's path; a gap where a value is not known."""
    parts: list[str] = []
    drawing = False
    for number, value in enumerate(values):
        if value is None:
            drawing = False
            continue
        x = WIDTH * (number + 0.5) / max(count, 1)
        y = HEIGHT * (1 - min(value / top, 1.0))
        parts.append(f"{'L' if drawing else 'M'}{x:.1f} {y:.1f}")
        drawing = True
    return "".join(parts)
