"""What needs somebody's attention, in words. No I/O."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from ingest.dashboard.lanes import LaneLook
from ingest.dashboard.words import duration, plural
from schemas.worker import WorkerView

_LONG: Final = timedelta(minutes=1)
"""How long a task may wait before that is worth a look."""


class Concern(NamedTuple):
    """One thing that an operator should look at."""

    grave: bool
    """Whether work stands still; else it is only worth knowing."""
    subject: str
    said: str
    link: str
    """Where it is dealt with."""


def concerns(
    checks: Mapping[str, str | None],
    lanes: Sequence[LaneLook],
    workers: Sequence[WorkerView] | None,
    now: datetime,
) -> list[Concern]:
    """Everything worth a look, the grave first.

    Args:
        checks: what readiness consists of, each with what fails.
        lanes: how they stand.
        workers: every one that was heard of lately; ``None`` where that is not known.
        now: the time to count from.
    """
    found = [Concern(True, _CHECKS.get(name, name), why, "/readyz") for name, why in checks.items() if why is not None]
    if workers is not None:
        found += _of_workers(workers, now)
    for look in lanes:
        concern = _of_lane(look, now)
        if concern is not None:
            found.append(concern)
    return sorted(found, key=lambda concern: not concern.grave)


def _of_workers(workers: Sequence[WorkerView], now: datetime) -> Iterator[Concern]:
    if not any(worker.alive for worker in workers):
        yield Concern(True, "Workers", "none is alive, so nothing runs. Start one: laneway worker", "/workers")
    for worker in workers:
        link = f"/workers#{worker.worker}"
        if not worker.alive:
            said = f"nothing was heard of this worker for {duration(now - worker.at)}"
            yield Concern(False, worker.worker, said, link)
        elif worker.stuck:
            since = duration(worker.at - (worker.last_end_at or worker.started_at))
            full = ", ".join(slots.type for slots in worker.slots if slots.total and slots.busy >= slots.total)
            said = f"the worker is stuck: every slot of {full} is busy, and no run has ended for {since}"
            yield Concern(True, worker.worker, said, link)


def _of_lane(look: LaneLook, now: datetime) -> Concern | None:
    waits = None if look.oldest is None else now - look.oldest
    long = waits is not None and waits > _LONG
    oldest = f"oldest has waited {duration(waits)}" if long else ""
    if look.control is not None and look.control.paused:
        reason = f": {look.control.reason}" if look.control.reason else ""
        held = f"held since {look.control.at:%H:%M} UTC by {look.control.holder}{reason}"
        waiting = f"; {plural(look.lag, 'task waits', 'tasks wait')}" if look.lag else ""
        said = f"{oldest}: the lane is {held}{waiting}" if long else f"{held}{waiting}"
        return Concern(bool(look.lag), str(look.lane), said, f"/lanes#{look.lane}")
    if not long or not look.lag:
        return None
    waiting = plural(look.lag, "task waits", "tasks wait")
    if look.running:
        return Concern(False, str(look.lane), f"{oldest}; {waiting}, {look.running} run", f"/lanes#{look.lane}")
    said = f"{oldest}, and nothing of it runs; {waiting}. Is there a worker for it?"
    return Concern(True, str(look.lane), said, f"/lanes#{look.lane}")


_CHECKS: Final = {
    "broker": "Kafka",
    "topics": "Topics",
    "schedules": "Schedules",
    "replays": "Replays",
    "view": "Status view",
}
