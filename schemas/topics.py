"""The only place that spells a topic's name, its settings and its partitioning."""

import zlib
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from schemas.task import CALLBACK_TYPE, MAX_DELAY_SECONDS, Lane, Priority

DAY: Final = timedelta(days=1)
TASK_RETENTION: Final = 7 * DAY
CANCELLATION_RETENTION: Final = timedelta(seconds=MAX_DELAY_SECONDS) + TASK_RETENTION
"""Longer than any task waits: a cancellation must be there when the task comes up."""
DEAD_LETTER_RETENTION: Final = 30 * DAY
AUDIT_RETENTION: Final = 90 * DAY
DEAD_LETTERS_SUFFIX: Final = ".dlq"
MAX_RECORD_BYTES: Final = 2 * 1024 * 1024
"""Twice what Kafka's clients send by default: a record that came in also fits with the headers that it gains."""

POSITION_IN_SINK: Final = "laneway: the position is in the sink"
"""Metadata of the offsets that a sink's group commits: nobody begins at them."""

RUNGS: Final[dict[str, timedelta]] = {
    "1s": timedelta(seconds=1),
    "5s": timedelta(seconds=5),
    "30s": timedelta(seconds=30),
    "2m": timedelta(minutes=2),
    "10m": timedelta(minutes=10),
    "1h": timedelta(hours=1),
    "6h": timedelta(hours=6),
    "1d": timedelta(days=1),
}
"""The ladder of waiting topics. Each holds records for one fixed time, so that its records lie in due order and its
head waiting blocks nothing that is due. A longer wait goes down the ladder: the largest rung that fits, then the rest.
"""


@dataclass(frozen=True)
class TopicSpec:
    """A topic as it should be."""

    name: str
    partitions: int
    replication_factor: int
    config: dict[str, str] = field(default_factory=dict)


def partition_of(key: str, partitions: int) -> int:
    """Partition of a task in its lane, in ``status`` and in every other topic keyed by task.

    CRC-32 of the key, as librdkafka's ``consistent`` partitioner takes it.
    """
    return zlib.crc32(key.encode()) % partitions


def position(topic: str, partition: int, offset: int) -> str:
    """A position in the log, as it is written everywhere: ``topic-partition@offset``."""
    return f"{topic}-{partition}@{offset}"


def rung_for(remaining: timedelta) -> str | None:
    """The largest rung that does not overshoot, or ``None`` when less than the smallest is left."""
    fitting = [name for name, wait in RUNGS.items() if wait <= remaining]
    return fitting[-1] if fitting else None


@dataclass(frozen=True)
class Topics:
    """Names under one prefix."""

    prefix: str = "laneway."

    @property
    def task_topics(self) -> str:
        """What the names of all lanes and dead letters begin with; the type follows."""
        return f"{self.prefix}tasks."

    def lane(self, lane: Lane) -> str:
        """Where tasks of one (type, priority) lie; replay reads it too."""
        return f"{self.task_topics}{lane.type}.{lane.priority}"

    def group(self, lane: Lane) -> str:
        """Consumer group of a lane."""
        return f"{self.prefix}{lane.type}.{lane.priority}"

    def dead_letters(self, type_name: str) -> str:
        """Tasks of a type that will not be tried again by themselves."""
        return f"{self.task_topics}{type_name}{DEAD_LETTERS_SUFFIX}"

    def results(self, type_name: str) -> str:
        """Outcomes of a type, for downstream services."""
        return f"{self.prefix}results.{type_name}"

    @property
    def shadows(self) -> str:
        """Outcomes of shadow runs, of every type: beside ``results.<type>``, so that nobody takes them for results."""
        return f"{self.prefix}shadows"

    def sink_group(self, type_name: str, sink: str) -> str:
        """Consumer group of those who fill one sink; ``sink`` tells it from others of the type."""
        return f"{self.prefix}sink.{type_name}.{sink}"

    def aside(self, type_name: str, group: str) -> str:
        """Outcomes of a type that a group's handler could not take; also the group of those who look there.

        No part of a type's name begins with ``_``, so that two pairs never have one name.
        """
        return f"{self.prefix}aside.{type_name}._{group}"

    def retry(self, rung: str) -> str:
        """One rung of the ladder that waiting tasks go down."""
        return f"{self.prefix}retry.{rung}"

    @property
    def timers_group(self) -> str:
        """Consumer group of the ladder."""
        return f"{self.prefix}timers"

    @property
    def status(self) -> str:
        """The compacted topic of status documents."""
        return f"{self.prefix}status"

    @property
    def events(self) -> str:
        """One record for each transition of each task."""
        return f"{self.prefix}events"

    @property
    def control(self) -> str:
        """What operators asked of lanes."""
        return f"{self.prefix}control"

    @property
    def cancellations(self) -> str:
        """Tasks that are called off and have not come up yet."""
        return f"{self.prefix}cancellations"

    @property
    def workers(self) -> str:
        """What each worker process tells of itself."""
        return f"{self.prefix}workers"

    @property
    def audit(self) -> str:
        """Who asked for what."""
        return f"{self.prefix}audit"

    @property
    def suspects(self) -> str:
        """Tasks that were running when their process crashed."""
        return f"{self.prefix}suspects"

    @property
    def schedules(self) -> str:
        """The compacted topic of schedules and of how far each has come."""
        return f"{self.prefix}schedules"

    @property
    def replays(self) -> str:
        """The compacted topic of replays and of how far each has come."""
        return f"{self.prefix}replays"

    @property
    def replays_group(self) -> str:
        """Consumer group of those who run replays."""
        return f"{self.prefix}replays"

    @property
    def schedules_group(self) -> str:
        """Consumer group of those who fire schedules."""
        return f"{self.prefix}schedules"

    def aside_spec(self, type_name: str, group: str, *, partitions: int, replication_factor: int) -> TopicSpec:
        """The topic of what one group sets aside; consumers make it, since nobody else knows of the group."""
        return TopicSpec(
            self.aside(type_name, group),
            partitions,
            replication_factor,
            _durable(replication_factor) | {"cleanup.policy": "delete", "retention.ms": _ms(DEAD_LETTER_RETENTION)},
        )

    def specs(self, types: list[str], *, partitions: int, replication_factor: int) -> list[TopicSpec]:
        """Every topic that a system with these types needs, those of callbacks among them: any task may ask for one.

        Broker time on every record (``LogAppendTime``) makes the order of time-stamps the order of the log, whatever
        the clocks of producers say.
        """
        durable = _durable(replication_factor)

        def spec(name: str, config: dict[str, str]) -> TopicSpec:
            return TopicSpec(name, partitions, replication_factor, durable | config)

        deleted = {"cleanup.policy": "delete", "retention.ms": _ms(TASK_RETENTION)}
        specs = [
            spec(
                self.status,
                # A reader that lags keeps seeing each step for a while; the closed segment bounds what is re-read.
                {
                    "cleanup.policy": "compact",
                    "min.compaction.lag.ms": _ms(timedelta(minutes=10)),
                    "segment.ms": _ms(DAY),
                },
            ),
            spec(self.events, deleted),
            spec(self.shadows, deleted),
            spec(self.control, {"cleanup.policy": "compact"}),
            spec(
                self.cancellations,
                {"cleanup.policy": "compact,delete", "retention.ms": _ms(CANCELLATION_RETENTION)},
            ),
            spec(
                self.workers,
                # Read from its start by every API process, and a report is of no use after some minutes.
                {
                    "cleanup.policy": "compact,delete",
                    "retention.ms": _ms(timedelta(hours=1)),
                    "segment.ms": _ms(timedelta(minutes=15)),
                },
            ),
            spec(self.audit, {"cleanup.policy": "delete", "retention.ms": _ms(AUDIT_RETENTION)}),
            spec(self.suspects, {"cleanup.policy": "compact,delete", "retention.ms": _ms(TASK_RETENTION)}),
            # Read from its start by every API process, and by whoever takes a partition over: it must stay short.
            spec(self.schedules, {"cleanup.policy": "compact", "max.compaction.lag.ms": _ms(timedelta(hours=1))}),
            spec(
                self.replays,
                {
                    "cleanup.policy": "compact,delete",
                    "retention.ms": _ms(DEAD_LETTER_RETENTION),
                    "max.compaction.lag.ms": _ms(timedelta(hours=1)),
                },
            ),
            *(
                spec(self.retry(name), {"cleanup.policy": "delete", "retention.ms": _ms(wait + TASK_RETENTION)})
                for name, wait in RUNGS.items()
            ),
        ]
        for type_name in dict.fromkeys((*types, CALLBACK_TYPE)):
            specs += [spec(self.lane(Lane(type_name, priority)), deleted) for priority in Priority]
            specs.append(
                spec(
                    self.dead_letters(type_name),
                    {"cleanup.policy": "delete", "retention.ms": _ms(DEAD_LETTER_RETENTION)},
                )
            )
            specs.append(spec(self.results(type_name), deleted))
        return specs


def _durable(replication_factor: int) -> dict[str, str]:
    return {
        "message.timestamp.type": "LogAppendTime",
        "min.insync.replicas": str(max(1, replication_factor - 1)),
        "unclean.leader.election.enable": "false",
        "max.message.bytes": str(MAX_RECORD_BYTES),
    }


def _ms(duration: timedelta) -> str:
    return str(duration // timedelta(milliseconds=1))
