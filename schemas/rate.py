"""How many tasks may start in how much time."""

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

_UNITS: Final = {
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
}
_FORM: Final = re.compile(r"(\d+(?:\.\d+)?)/([smhd])")


@dataclass(frozen=True)
class Rate:
    """So many starts in a time, such as ``Rate(100, timedelta(minutes=1))`` or ``Rate.parse("100/m")``."""

    count: float
    per: timedelta = timedelta(seconds=1)

    def __post_init__(self) -> None:
        if self.count <= 0 or self.per <= timedelta(0):
            raise ValueError(f"a rate of {self.count} in {self.per}: both must be above zero")

    @classmethod
    def parse(cls, text: str) -> "Rate":
        """The rate in ``100/s``, ``20/m``, ``5/h`` or ``1000/d``.

        Raises:
            ValueError: it is none.
        """
        found = _FORM.fullmatch(text)
        if found is None:
            raise ValueError(f"rate {text!r}: want a number and s, m, h or d, such as '100/s' or '20/m'")
        return cls(float(found[1]), _UNITS[found[2]])

    @property
    def per_second(self) -> float:
        """Starts a second."""
        return self.count / self.per.total_seconds()

    def __str__(self) -> str:
        for unit, per in _UNITS.items():
            if per == self.per:
                return f"{self.count:g}/{unit}"
        return f"{self.count:g} in {self.per}"
