"""Places where a process dies on request, so that tests can look into the windows between two steps.

Nothing is armed unless the setting ``crash_at`` names a point. A call site costs one look at a module's variable::

    if crashpoints.armed:
        crashpoints.reached("after_status")
"""

import os
import signal
import time
from pathlib import Path
from typing import Final

from schemas.errors import ConfigurationError
from schemas.settings import Settings, variable

POINTS: Final = {
    "before_claim": "a record was delivered and decoded; its handler was not started and nothing was told of it",
    "before_status": "the handler has returned; nothing of its outcome was sent",
    "after_status": "the status of the step is durable; its outcome, next run or dead letter was not sent",
    "after_result": "every record of the step is durable; the offset is not marked as done",
    "after_withdrawal": "a waiting record is withdrawn; the one that takes its place is not there",
    "before_commit": "offsets are done; their commit was not sent",
    "after_claim": "a request has claimed the id of its idempotency key; its task is not in its lane",
    "after_firing": "tasks of schedules are in their lanes; how far their schedules are is not told",
    "after_task": "a task with an idempotency key is in its lane; its status is not",
    "after_accept": "every record of an accepted task is durable; the request was not answered",
}
"""Every point by name, with what is true there."""

armed: bool = False
"""Whether this process dies at some point."""

_point = ""
_left = 0
_mark = Path()


def arm(settings: Settings) -> None:
    """Have this process die where ``crash_at`` says; does nothing where it says nothing.

    ``crash_at`` is a point, or ``point:n`` for the n-th time that it is reached. It strikes once for a data directory:
    the process leaves the file ``crashed-at-<point>`` there, and whoever finds one goes on.

    Raises:
        ConfigurationError: no such point.
    """
    global armed, _point, _left, _mark
    if settings.crash_at is None:
        return
    point, _, times = settings.crash_at.partition(":")
    if point not in POINTS or not (times or "1").isdecimal() or times == "0":
        raise ConfigurationError(
            variable("crash_at"), settings.crash_at, f"one of {', '.join(POINTS)}, perhaps with :n (the n-th time)"
        )
    mark = settings.data_dir / f"crashed-at-{point}"
    _point, _left, _mark, armed = point, int(times or "1"), mark, not mark.exists()


def reached(point: str) -> None:
    """Die of SIGKILL here if this is the point, and the time, that was asked for."""
    global armed, _left
    if not armed or point != _point:
        return
    _left -= 1
    if _left > 0:
        return
    armed = False
    try:
        descriptor = os.open(_mark, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:  # another process of the same settings was here first
        return
    os.write(descriptor, f"{os.getpid()} {time.time_ns()}".encode())
    os.fsync(descriptor)
    os.kill(os.getpid(), signal.SIGKILL)
    signal.pause()  # the signal may take a moment; nothing more may happen here
