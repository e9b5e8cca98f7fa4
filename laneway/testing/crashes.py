"""Crashes on request: where a process that exists only in a test dies."""

from typing import Final, Literal, get_args

from laneway.crashpoints import POINTS

Point = Literal["running", "before_status", "after_status", "after_result"]

MEANINGS: Final[dict[Point, str]] = {
    "running": "the handler waits for the first time, or has returned without waiting; it never goes on",
    "before_status": POINTS["before_status"],
    "after_status": POINTS["after_status"],
    "after_result": POINTS["after_result"],
}
"""Every point by name, with what is true there; all but the first are ``laneway.crashpoints``'."""


class Crash(BaseException):
    """Raised where a handler, or what it calls, crashes its process: nothing of that process goes on.

    Args:
        how: a signal's name, as it is told of the task should it turn out to be poison.
    """

    def __init__(self, how: str = "SIGSEGV") -> None:
        self.how = how
        super().__init__(how)


class Crashes:
    """Which crashes were asked for and have not happened yet."""

    def __init__(self) -> None:
        self._left: dict[tuple[str, Point], int] = {}

    def arm(self, task_id: str, at: Point, times: int) -> None:
        """Have a process die the next ``times`` times that the task is at this point.

        Raises:
            ValueError: no such point.
        """
        if at not in get_args(Point):
            raise ValueError(f"crash: no point {at!r}; there are {', '.join(get_args(Point))}")
        self._left[task_id, at] = times

    def strikes(self, task_id: str, at: Point) -> bool:
        """Whether a process dies now; it was asked for this time and is not for the next."""
        left = self._left.get((task_id, at), 0)
        if left:
            self._left[task_id, at] = left - 1
        return left > 0
