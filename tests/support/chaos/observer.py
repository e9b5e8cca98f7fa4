"""The ledger of records: everything that the log shows to a consumer who shares nothing with Laneway's own."""

import re
import threading
from collections import defaultdict
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, NamedTuple, cast

import msgspec
from confluent_kafka import Consumer, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient

from schemas.headers import ATTEMPT, DEFERRALS, DLQ_SOURCE
from schemas.status import State
from tests.support.chaos.offsets import LATEST, ends_of

RunKey = tuple[str, int, int, int]
"""(task id, generation, attempt, deferrals)."""
_LANE: Final = re.compile(r"tasks\.(?P<lane>.+\.(?:high|normal|low))$")
_DEAD: Final = re.compile(r"tasks\..+\.dlq$")


class _Task(msgspec.Struct):
    id: str
    type: str
    payload: Any = None
    generation: int = 1


class _Told(msgspec.Struct):
    """What a status or an outcome says, in as far as the judge asks."""

    id: str
    state: State
    attempt: int = 0
    deferrals: int = 0
    generation: int = 1
    worker: str | None = None
    claim: str | None = None
    """In a record of ``status`` that is none yet: a key's claim on its id."""


_task = msgspec.json.Decoder(_Task).decode
_told = msgspec.json.Decoder(_Told).decode


class Told(NamedTuple):
    """A status or outcome, and when the broker appended it (seconds since the epoch)."""

    state: State
    generation: int
    attempt: int
    deferrals: int
    at: float
    worker: str | None


class DeadLetter(NamedTuple):
    """A record of a dead-letter topic."""

    topic: str
    value: bytes | None
    headers: dict[str, bytes]
    at: float


@dataclass
class Seen:
    """What the topics held, as far as they were read."""

    statuses: dict[str, list[Told]] = field(default_factory=lambda: defaultdict(list))
    outcomes: dict[str, list[Told]] = field(default_factory=lambda: defaultdict(list))
    dead_letters: list[DeadLetter] = field(default_factory=list)
    lanes: dict[tuple[str, int], dict[int, RunKey | None]] = field(default_factory=lambda: defaultdict(dict))
    """By (lane, partition), by offset: which run the record asks for; ``None``: it is no task."""
    numbers: dict[str, int] = field(default_factory=dict)
    """By task id: which submission of the producer its payload names."""

    def final(self, task_id: str) -> State | None:
        """The final state that an outcome told of, if one did."""
        told = self.outcomes.get(task_id)
        return told[-1].state if told else None


class Observer:
    """Reads every topic under a prefix from its beginning, in a thread of its own, and keeps what the judge needs.

    It assigns itself all partitions, so it is in no group and no rebalance; it reads what is committed only.
    """

    def __init__(self, bootstrap_servers: str, prefix: str) -> None:
        self.seen = Seen()
        self._prefix = prefix
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap_servers,
                "group.id": f"{prefix}observer",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "isolation.level": "read_committed",
                "reconnect.backoff.max.ms": 500,
                "fetch.wait.max.ms": 100,
                "log_level": 0,
            }
        )
        self._new_admin = partial(AdminClient, {"bootstrap.servers": bootstrap_servers, "log_level": 0})
        self._admin = self._new_admin()
        self._places: list[tuple[str, int]] = []
        self._positions: dict[tuple[str, int], int] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._read, name="observer", daemon=True)
        self._broken: BaseException | None = None

    def start(self) -> None:
        """Begin with the topics that there are now."""
        topics = self._consumer.list_topics(timeout=20).topics
        mine = [
            TopicPartition(name, number, 0)
            for name, topic in topics.items()
            if name.startswith(self._prefix)
            for number in topic.partitions
        ]
        assert mine, f"no topic begins with {self._prefix!r}"
        self._places = [(found.topic, found.partition) for found in mine]
        self._consumer.assign(mine)
        self._thread.start()

    def stop(self) -> None:
        """End the thread.

        Raises:
            RuntimeError: it broke down on the way, so what was seen is not all.
        """
        self._stopping.set()
        self._thread.join(20)
        self._consumer.close()
        if self._broken is not None:
            raise RuntimeError("the observer broke down") from self._broken

    def caught_up(self) -> bool:
        """Whether everything up to the present end of every topic was read."""
        asked = self._admin.list_offsets({TopicPartition(*place): LATEST for place in self._places}, request_timeout=5)
        try:
            ends = ends_of(asked)
        except KafkaException:
            # An admin client asks with the leader epoch that it once learnt, for ever: a new one learns anew.
            self._admin = self._new_admin()
            return False
        return all(self._positions.get(place, 0) >= end for place, end in ends.items())

    def _read(self) -> None:
        try:
            while not self._stopping.is_set():
                for message in self._consumer.consume(1_000, timeout=0.1):
                    if message.error() is None:
                        self._take(message)
        except BaseException as error:  # noqa: BLE001  (told by stop(), in the thread that judges)
            self._broken = error

    def _take(self, message: Message) -> None:
        topic = (message.topic() or "").removeprefix(self._prefix)
        partition, offset = message.partition() or 0, message.offset() or 0
        at = message.timestamp()[1] / 1_000
        value = message.value()
        if topic == "status":
            if value is not None:
                _keep(self.seen.statuses, value, at)
        elif topic.startswith("results."):
            _keep(self.seen.outcomes, value or b"", at)
        elif _DEAD.match(topic):
            self.seen.dead_letters.append(DeadLetter(topic, value, _headers(message), at))
        elif lane := _LANE.match(topic):
            self.seen.lanes[lane["lane"], partition][offset] = self._run_key(value, _headers(message))
        self._positions[message.topic() or "", partition] = offset + 1

    def _run_key(self, value: bytes | None, headers: dict[str, bytes]) -> RunKey | None:
        try:
            task = _task(value or b"")
            key = (task.id, task.generation, int(headers.get(ATTEMPT, b"1")), int(headers.get(DEFERRALS, b"0")))
        except (msgspec.DecodeError, ValueError):
            return None
        if isinstance(task.payload, dict) and isinstance(number := task.payload.get("number"), int):
            self.seen.numbers[task.id] = number
        return key


def _keep(told: dict[str, list[Told]], value: bytes, at: float) -> None:
    found = _told(value)
    if found.claim is not None:
        return
    told[found.id].append(Told(found.state, found.generation, found.attempt, found.deferrals, at, found.worker))


def _headers(message: Message) -> dict[str, bytes]:
    # What a consumer is given is a list of pairs, says librdkafka; the stubs leave a mapping open, too.
    pairs = cast("list[tuple[str, bytes | None]]", message.headers() or [])
    return {name: value or b"" for name, value in pairs}


def source_of(letter: DeadLetter) -> tuple[str, int, int] | None:
    """Topic, partition and offset that a dead letter says it came from."""
    found = re.fullmatch(r"(.+)-(\d+)@(\d+)", letter.headers.get(DLQ_SOURCE, b"").decode())
    return (found[1], int(found[2]), int(found[3])) if found else None
