"""One record of a lane, from its delivery until its outcome is durable."""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Protocol

from laneway.registry import TaskType
from schemas.headers import TRACEPARENT, Delivery, header
from schemas.rate import Rate
from schemas.status import Progress, State, Status, supersedes
from schemas.task import Lane, Priority, Task
from schemas.topics import position
from streams.attempt import Attempt
from streams.last_words import LastWords
from streams.rates import TokenBucket
from streams.tracker import OffsetTracker

if TYPE_CHECKING:
    from opentelemetry.trace import Span

MOST_KEY_RATES: Final = 10_000
"""Keys of a partition whose rates are kept; above it those are dropped that could start at once anyhow."""

RunKey = tuple[str, int, int, int]
"""(task id, generation, attempt, deferrals): names one run of one task; two records with one key ask for the same."""


class Record(Protocol):
    """A record as it was delivered."""

    @property
    def topic(self) -> str:
        """Where it lies."""

    @property
    def partition(self) -> int:
        """Where in the topic."""

    @property
    def offset(self) -> int:
        """Where in the partition."""

    @property
    def timestamp(self) -> int:
        """Broker time, in milliseconds since the epoch."""

    @property
    def key(self) -> bytes | None:
        """What decides its partition."""

    @property
    def value(self) -> bytes | None:
        """The task, if it is one."""

    @property
    def headers(self) -> Sequence[tuple[str, bytes]]:
        """What travels beside it."""


@dataclass(eq=False)
class Partition:
    """One partition of a lane during one assignment."""

    lane: Lane
    number: int
    member: str = ""
    """As which member of the lane's group this worker has it."""
    tracker: OffsetTracker = field(default_factory=OffsetTracker)
    revoked: bool = False
    releasing: bool = False
    """It is about to be revoked: nothing of it starts any more."""
    settled: bool = False
    """While ``releasing``: all that had ended is durable, and all that runs claimed."""
    paused: bool = False
    held: "list[Source] | None" = field(default_factory=list)
    """Records that wait until ``moved_on`` is known; ``None`` from then on."""
    moved_on: dict[str, Status] = field(default_factory=dict)
    """What former owners had told, though their commit did not reach it: by task id, the furthest status."""
    claims: dict[str, str] = field(default_factory=dict)
    """By task id, who was told to run it: the member of the group, or the worker where no member was told."""
    alive: frozenset[str] = frozenset()
    """Workers and members of the lane's group, as far as they may still tell something of what they claimed."""
    last_words: LastWords = field(default_factory=LastWords)
    heard_out_at: float = 0.0
    """Until when its former owner, that did not hand it over, is listened to; zero as long as that is not known."""
    start: int = 0
    """Where the group went on when the partition came to us."""
    redelivered_until: int = 0
    """Records at and beyond this offset were appended after the assignment: nobody had them before."""
    read_from: int = 0
    """Where the read of ``status`` began."""
    read_until: int = 0
    """How far ``status`` was read about what is claimed."""
    parked: "list[Work]" = field(default_factory=list)
    """Works that wait for news from ``status``: they run on another worker, which holds its lease, or may be over."""
    deciding: bool = False
    """While works that were parked are considered one after the other."""
    keys: "dict[str, deque[Work]]" = field(default_factory=dict)
    """For each ordering key that is taken: the tasks that wait for their turn."""
    queued_by_key: int = 0
    """How many wait in ``keys``."""

    key_rates: dict[str, TokenBucket] = field(default_factory=dict)
    """For each ordering key whose rate has not recovered yet."""

    def told(self, statuses: Iterable[Status]) -> None:
        """Learn what others told of tasks."""
        for status in statuses:
            if supersedes(status, self.moved_on.get(status.id)):
                self.moved_on[status.id] = status
                if status.state is State.RUNNING:
                    self.claims[status.id] = status.member or status.worker or ""
                else:
                    self.claims.pop(status.id, None)

    @property
    def claimants(self) -> frozenset[str]:
        """Who was told to run something of it."""
        return frozenset(self.claims.values())

    def forget_told(self) -> None:
        """Nothing is delivered any more of which others could have told."""
        self.moved_on = {}
        self.claims = {}

    def wait_for_key(self, key: str, rate: Rate, now: float) -> float:
        """Seconds until a task of an ordering key may start; zero takes the start that its rate allows."""
        bucket = self.key_rates.get(key)
        if bucket is None:
            if len(self.key_rates) >= MOST_KEY_RATES:
                self.key_rates = {each: found for each, found in self.key_rates.items() if found.wait(now) > 0}
            bucket = self.key_rates[key] = TokenBucket(rate, now)
        wait = bucket.wait(now)
        if wait <= 0:
            bucket.take()
        return wait

    @property
    def committable(self) -> int | None:
        """The offset that may be committed; ``None`` as long as that would be no progress.

        A partition that is not open yet has made none, and knows nothing to tell a successor.
        """
        offset = self.tracker.committable
        return offset if self.held is None and offset is not None and offset >= self.start else None

    @property
    def flowing(self) -> bool:
        """Whether its records are fetched and may start."""
        return self.held is None and not (self.paused or self.revoked or self.releasing)

    @property
    def position(self) -> int:
        """The next record to be delivered."""
        return max(self.tracker.delivered_until or 0, self.start)


@dataclass(eq=False, slots=True)
class Source:
    """A delivered record and where it came from."""

    partition: Partition
    record: Record

    @property
    def position(self) -> str:
        """As ``topic-partition@offset``."""
        return position(self.record.topic, self.record.partition, self.record.offset)

    @property
    def appended_at(self) -> datetime:
        """Broker time of the record."""
        return datetime.fromtimestamp(self.record.timestamp / 1000, UTC)


@dataclass(eq=False, slots=True)
class Work:
    """A task that a record asks to run."""

    source: Source
    task: Task
    task_type: TaskType
    delivery: Delivery
    started_at: datetime | None = None
    told_running: bool = False
    progress: Progress | None = None
    untold_progress: bool = False
    published: bool = False
    """Its outcome was sent; it only waits for the acknowledgement."""
    fenced: bool = False
    """The group had given this worker up while it ran: another one may have started it, so its outcome waits until the
    record is delivered here again, or is certainly somebody else's."""
    disowned: bool = False
    """Delivered here again after it was fenced, but over or elsewhere: its outcome is dropped."""
    again: Delivery | None = None
    """The run that follows in place: a task with an ordering key keeps its record, and its turn, while it waits."""
    twins: "list[Work]" = field(default_factory=list)
    """Further records that ask for this very run: done when it is."""
    attempt: "Attempt[Work] | None" = None
    """While it runs."""
    flight: int | None = None
    """Its place in the flight recorder."""
    ended: bool = False
    """The task is over with this run: no other one follows."""
    span: "Span | None" = None
    """Of its latest attempt, where spans are made."""
    telling: "Span | None" = None
    """Of the publication of its end, while that is under way."""
    end: State | None = None
    """What this worker has published of its run: an end, or ``retrying``."""
    why: str = ""
    """The reason of a dead letter or of another run, as metrics have it."""
    timer: Any = None
    """While it is not due."""
    cancelled: bool = False
    """It ends as cancelled."""
    called_off: bool = False
    """Its task is cancelled, and its handler told: whatever it raises, it is not run again."""
    called_off_at: datetime | None = None
    """Its task was cancelled at this time, before its record came up: its end may have been told since."""
    looked_up: bool = False
    """What ``status`` says of its run is known, though its record may be a repeated one."""

    @property
    def key(self) -> RunKey:
        """Names the run."""
        return self.task.id, self.task.generation, self.delivery.attempt, self.delivery.deferrals

    @property
    def shadow_of(self) -> str | None:
        """The task that it repeats for comparison: nothing is told of such a run but its outcome, in ``shadows``."""
        return self.delivery.shadow_of

    @property
    def max_attempts(self) -> int:
        """The task's own bound, else its type's."""
        return self.task.max_attempts or self.task_type.retry.max_attempts

    @property
    def created_at(self) -> datetime:
        """When the task was accepted."""
        return self.task.created_at or self.source.appended_at

    @property
    def due(self) -> datetime | None:
        """Not before this time."""
        return self.delivery.not_before or self.task.run_at

    @property
    def urgent(self) -> bool:
        """Whether what is told of it does not wait for others to share a request."""
        return self.task.priority is Priority.HIGH

    @property
    def doubtful(self) -> bool:
        """Whether its run may be over already, told by whoever had the partition before."""
        return self.delivery.repeated and not self.looked_up

    @property
    def traceparent(self) -> bytes | None:
        """Trace context of the request that submitted it."""
        return header(self.source.record.headers, TRACEPARENT)


def next_delivery(status: Status) -> Delivery:
    """What a status says of the run that follows, or that is under way."""
    if status.state.final:
        raise ValueError(f"nothing follows {status.state}")
    if status.not_before is None:  # it runs
        return Delivery(max(1, status.attempt), status.deferrals, None, status.errors)
    spent = status.error in status.errors
    return Delivery(
        attempt=status.attempt + (1 if spent else 0),
        deferrals=status.deferrals + (0 if spent else 1),
        not_before=status.not_before,
        errors=status.errors,
    )
