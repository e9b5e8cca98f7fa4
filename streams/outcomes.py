"""Making what an attempt ended with durable, in the order that a crash cannot hurt."""

import asyncio
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable
from datetime import datetime
from functools import partial
from typing import Final

import structlog
from msgspec import Raw

from laneway import crashpoints
from laneway.kafka.records import OutgoingRecord, RecordSink
from schemas.errors import LanewayError, RecordTooLargeError, ResultError
from schemas.headers import CE_TIME, DLQ_REASON, KIND_HEADERS, MAY_REPEAT, REPEATED, Delivery, header
from schemas.metrics import DEFERRED, FAILED
from schemas.retry import Retry, describe
from schemas.status import ErrorInfo, State, Status
from schemas.task import Lane
from streams import spans
from streams.counts import Counts
from streams.publisher import TOLD, Publisher
from streams.tracker import commit_metadata
from streams.work import Partition, RunKey, Source, Work, next_delivery

log = structlog.get_logger(__name__)

REMEMBERED: Final = 50_000
"""Runs that a worker knows to be over, so that a record repeated by a crash elsewhere starts nothing."""
STEPS_REMEMBERED: Final = 5_000
"""Runs in place that a worker knows to have been followed by another."""
PUBLISH_AGAIN_AFTER: Final = 0.5


class Outcomes:
    """Publishes the steps of works.

    Delivery: status and event first; what others act on (the outcome, the next run, the dead letter) once they are
        durable, so that a kill in between never leaves an outcome whose task would run again; ``over`` once all is.
        What the broker does not take is published again until it does. While the group may have given this worker up,
        nothing is published; when it has, a work waits until its record is delivered here again, or is dropped, since
        another worker runs it again.
    """

    def __init__(
        self, producer: RecordSink, publisher: Publisher, lease_holds: Callable[[Lane], bool], counts: Counts
    ) -> None:
        self.over: Callable[[Work, int | None, bool], None]
        """Gets each work whose step is durable, with where in ``status`` it lies; with False one that was dropped."""
        self.certainly_lost: Callable[[Work], bool]
        """Says of a fenced work that another worker has it, or had it."""
        self.set_aside_over: Callable[[Source], None]
        """Gets each record that was no task and is in the dead letters now."""
        self.closing = False
        self._producer = producer
        self._publisher = publisher
        self._lease_holds = lease_holds
        self._counts = counts
        self._loop = asyncio.get_running_loop()
        self._newest_status: dict[int, int] = {}
        # By partition of `status`: steps on their way, oldest first, each with the newest offset known when it was
        # sent. Its status lies beyond that, and may be durable long before we hear of it.
        self._on_their_way: defaultdict[int, dict[Work, int | None]] = defaultdict(dict)
        self._over_before: OrderedDict[RunKey, int | None] = OrderedDict()
        self._went_on: OrderedDict[RunKey, Delivery] = OrderedDict()
        self._held_back: list[tuple[Work, list[OutgoingRecord]]] = []
        self._held_rest: list[tuple[Work, list[OutgoingRecord], int | None]] = []

    # What may be asked --------------------------------------------------------------------------------------------

    def knows(self, key: RunKey) -> bool:
        """Whether a run is known to be over."""
        return key in self._over_before

    def marker_of(self, key: RunKey) -> int | None:
        """Where in ``status`` it is told that a known run is over."""
        return self._over_before[key]

    def went_on(self, key: RunKey) -> Delivery | None:
        """The run that followed a known one in place.

        A partition that comes back within a moment was read before that was durable.
        """
        return self._went_on.get(key)

    def commit_metadata(self, partition: Partition) -> str:
        """What a commit of the partition says beside its offset."""
        known = self._newest_status.get(partition.number)
        oldest = next(iter(self._on_their_way[partition.number].values()), known)
        if oldest is None:
            return commit_metadata(None, handed_over=partition.settled)
        marker = partition.tracker.first_marker(oldest)
        if marker is not None and (partition.tracker.committable or 0) < partition.redelivered_until:
            # What was told before us of records that are still uncommitted, the next owner has to find, too.
            marker = min(marker, partition.read_from)
        return commit_metadata(marker, handed_over=partition.settled)

    @property
    def unfinished(self) -> bool:
        """Whether any step waits for the broker."""
        return bool(self._held_back) or any(self._on_their_way.values())

    async def settled(self, partitions: list[Partition]) -> None:
        """Wait until nothing of these partitions is on its way."""
        while any(work.source.partition in partitions for work in self._unsettled()):  # noqa: ASYNC110
            await asyncio.sleep(0.005)

    def _unsettled(self) -> Iterable[Work]:
        for work, _ in self._held_back:
            yield work
        for works in self._on_their_way.values():
            yield from works

    # Steps --------------------------------------------------------------------------------------------------------

    def finished(self, work: Work, state: State, *, result: Raw | None = None, error: ErrorInfo | None = None) -> None:
        """The task has ended."""
        work.end = state
        self._publish(work, self._publisher.finished(work, state, result=result, error=error))

    def dead_lettered(self, work: Work, reason: str, error: ErrorInfo, *, traceback: str | None = None) -> None:
        """The task has ended without a result and is set aside."""
        work.end, work.why = State.DEAD_LETTERED, reason
        self._publish(work, self._publisher.dead_lettered(work, reason, error, traceback=traceback))

    def retrying(self, work: Work, retry: Retry, due: datetime, *, traceback: str | None = None) -> None:
        """The task waits for another run: on the ladder, or in place where an ordering key keeps its turn."""
        work.end, work.why = State.RETRYING, FAILED if retry.spends_attempt else DEFERRED
        status, records = self._publisher.retrying(work, retry, due, traceback=traceback)
        if work.task.ordering_key is not None:
            work.again = next_delivery(status)
            records = records[:TOLD]
        self._publish(work, records)

    def shadowed(self, work: Work, state: State, *, result: Raw | None = None, error: ErrorInfo | None = None) -> None:
        """A shadow run has ended: its outcome is all that is told of it."""
        work.published = True
        number = work.source.record.partition
        self._on_their_way[number].setdefault(work, self._newest_status.get(number))
        self._follow(work, [self._publisher.shadowed(work, state, result=result, error=error)], None)

    def tell_running(self, work: Work) -> None:
        """It runs, or says how far it is."""
        self._producer.append(self._publisher.running(work), _log_untold)

    async def claim(self, works: list[Work]) -> bool:
        """Tell of each that it runs here; True once that is durable, False when it could not be made so."""
        works = [work for work in works if work.shadow_of is None]
        if not works:
            return True
        records = [record for work in works for record in self._publisher.running(work)]
        for work in works:
            work.told_running = True
        try:
            await self._producer.send(records)
        except LanewayError as error:
            log.warning("running tasks could not be claimed", tasks=len(works), said=str(error))
            return False
        return True

    def repair(self, work: Work, status: Status) -> None:
        """Publish again what may be missing of a step whose status is durable."""
        self._rest(work, self._publisher.repaired(work, status), work.source.partition.read_from)

    def set_aside(self, source: Source, error: ErrorInfo, reason: str) -> None:
        """Put a record that is no task into the dead letters."""
        self._aside(source, reason, self._publisher.set_aside(source, error, reason))

    def publish_held_back(self) -> None:
        """Publish what waited for the group to hear of us, and drop what others have by now."""
        if self._held_back:
            held, self._held_back = self._held_back, []
            for work, records in held:
                if work.fenced and self.certainly_lost(work):
                    self._drop(work)
                else:
                    self._publish(work, records)
        if self._held_rest:
            waiting, self._held_rest = self._held_rest, []
            for work, rest, marker in waiting:
                if work.fenced and self.certainly_lost(work):
                    self._drop(work)
                else:
                    self._follow(work, rest, marker)

    # Publication --------------------------------------------------------------------------------------------------

    def _publish(self, work: Work, records: list[OutgoingRecord]) -> None:
        if work.fenced or not self._lease_holds(work.source.partition.lane):
            self._held_back.append((work, records))
            return
        if crashpoints.armed:
            crashpoints.reached("before_status")
        work.published = True
        if work.span is not None:
            spans.publication(work, [record.topic for record in records])
        number = work.source.record.partition
        # The first try counts: it may be durable though nobody told us.
        self._on_their_way[number].setdefault(work, self._newest_status.get(number))
        self._producer.append(records[:TOLD], partial(self._told, work, records), urgent=work.urgent)

    def _told(self, work: Work, records: list[OutgoingRecord], error: LanewayError | None, offset: int) -> None:
        """Status and event have their answers."""
        if error is not None:
            if isinstance(error, RecordTooLargeError) and len(records) > TOLD:
                log.warning("outcome too large for the broker", task_id=work.task.id)
                too_large = ResultError(f"the outcome does not fit a record: {error}")
                self.dead_lettered(work, "result_too_large", describe(too_large))
            else:
                work.published = False  # by the time of the next try the group may have given us up
                self._later(partial(self._publish, work, records), error)
            return
        number = work.source.record.partition
        if offset > self._newest_status.get(number, -1):
            self._newest_status[number] = offset
        if crashpoints.armed:
            crashpoints.reached("after_status")
        self._follow(work, records[TOLD:], offset)

    def _follow(self, work: Work, rest: list[OutgoingRecord], marker: int | None) -> None:
        """What others act on, now that the status is durable; unless others were given the task meanwhile.

        A worker that was frozen between the two would add a second next run to that of whoever took over. Who is given
        the task back finds the status, and publishes what is missing.
        """
        if work.fenced or not self._lease_holds(work.source.partition.lane):
            self._held_rest.append((work, rest, marker))
        elif rest:
            self._rest(work, rest, marker)
        else:
            self._done(work, marker)

    def _drop(self, work: Work) -> None:
        log.warning("outcome dropped: another worker has the task", task_id=work.task.id)
        self._on_their_way[work.source.record.partition].pop(work, None)
        spans.published(work, dropped=True)
        self.over(work, None, False)

    def _rest(self, work: Work, records: list[OutgoingRecord], marker: int | None) -> None:
        self._producer.append(records, partial(self._rest_told, work, records, marker), urgent=work.urgent)

    def _rest_told(
        self, work: Work, records: list[OutgoingRecord], marker: int | None, error: LanewayError | None, _: int
    ) -> None:
        if error is not None:
            # They may be durable though nobody told us.
            self._later(partial(self._rest, work, [_repeated(record) for record in records], marker), error)
        else:
            self._done(work, marker)

    def _done(self, work: Work, marker: int | None) -> None:
        if crashpoints.armed:
            crashpoints.reached("after_result")
        self._on_their_way[work.source.record.partition].pop(work, None)
        if work.again is None:
            self._remember(work.key, marker)
        else:
            self._went_on[work.key] = work.again
            if len(self._went_on) > STEPS_REMEMBERED:
                self._went_on.popitem(last=False)
        self._counts.over(work)
        if work.telling is not None:
            spans.published(work)
        self.over(work, marker, True)

    def _aside(self, source: Source, reason: str, records: list[OutgoingRecord]) -> None:
        self._producer.append(records, partial(self._aside_told, source, reason, records))

    def _aside_told(
        self, source: Source, reason: str, records: list[OutgoingRecord], error: LanewayError | None, _: int
    ) -> None:
        if error is not None:
            self._later(partial(self._aside, source, reason, records), error)
        else:
            self._counts.set_aside(source.partition.lane, reason)
            self.set_aside_over(source)

    def _later(self, again: Callable[[], None], error: LanewayError) -> None:
        if self.closing:
            return
        log.warning("not acknowledged, published again", said=str(error))
        self._loop.call_later(PUBLISH_AGAIN_AFTER, again)

    def _remember(self, key: RunKey, marker: int | None) -> None:
        self._over_before[key] = marker
        if len(self._over_before) > REMEMBERED:
            self._over_before.popitem(last=False)


def _repeated(record: OutgoingRecord) -> OutgoingRecord:
    """The same record, marked if it asks for a run."""
    names = {name for name, _ in record.headers}
    if KIND_HEADERS["task"] not in record.headers or names & {REPEATED, DLQ_REASON}:
        return record
    # It may have been run since it was first sent, which was no earlier than it says itself.
    made_at = header(record.headers, CE_TIME)
    return record._replace(headers=[*record.headers, MAY_REPEAT if made_at is None else (REPEATED, made_at)])


def _log_untold(error: LanewayError | None, _: int) -> None:
    if error is not None:
        log.info("a running task could not be told of", said=str(error))
