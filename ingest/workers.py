"""The workers, by what they report."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec
import structlog

from laneway.kafka.records import TableRecord
from laneway.kafka.table import TableFollower
from schemas import codec
from schemas.errors import UnavailableError, UndecodableRecordError
from schemas.settings import Settings
from schemas.task import Lane
from schemas.topics import Topics
from schemas.worker import SILENT_AFTER, STUCK_AFTER, WorkerReport, WorkerView

log = structlog.get_logger(__name__)

_TOLD_FOR: Final = timedelta(minutes=10)
"""How long a worker that fell silent is still told of."""


class Workers:
    """Follows ``workers``. Belongs to the loop that made it."""

    def __init__(self, settings: Settings) -> None:
        self._reports: dict[str, WorkerReport] = {}
        topic = Topics(settings.kafka.topic_prefix).workers
        self._follower = TableFollower(settings, [topic], self._take, "laneway-workers")

    def start(self) -> None:
        """Begin to read."""
        self._follower.start()

    async def close(self) -> None:
        """Stop reading."""
        await self._follower.close()

    def every(self) -> list[WorkerView]:
        """Every worker that was heard of lately, by name.

        Raises:
            UnavailableError: the reports were not read yet.
        """
        if not self._follower.caught_up:
            raise UnavailableError("the workers' reports are not read yet")
        now = datetime.now(UTC)
        for name in [name for name, report in self._reports.items() if now - report.at > _TOLD_FOR]:
            del self._reports[name]
        return [_judged(report, now) for _, report in sorted(self._reports.items())]

    def by_lane(self) -> dict[Lane, list[str]]:
        """Names of the workers that are alive, by the lanes that they have partitions of.

        Raises:
            UnavailableError: the reports were not read yet.
        """
        return lanes_of(self.every())

    def _take(self, record: TableRecord) -> None:
        name = (record.key or b"").decode(errors="replace")
        if record.value is None:
            self._reports.pop(name, None)
            return
        try:
            self._reports[name] = codec.decode(record.value, WorkerReport)
        except UndecodableRecordError as error:
            log.warning("unreadable report of a worker skipped", worker=name[:200], said=str(error))


def lanes_of(workers: Iterable[WorkerView]) -> dict[Lane, list[str]]:
    """Names of those of ``workers`` that are alive, by the lanes that they have partitions of."""
    found: dict[Lane, list[str]] = {}
    for worker in workers:
        for share in worker.lanes if worker.alive else ():
            if share.partitions:
                found.setdefault(Lane(share.type, share.priority), []).append(worker.worker)
    return found


def _judged(report: WorkerReport, now: datetime) -> WorkerView:
    alive = now - report.at <= SILENT_AFTER
    full = any(slots.busy >= slots.total for slots in report.slots)
    stuck = alive and full and report.at - (report.last_end_at or report.started_at) >= STUCK_AFTER
    return WorkerView(**msgspec.structs.asdict(report), alive=alive, stuck=stuck)
