"""The two systems that the scenarios run on, behind one face."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol, TypeVar, Unpack

from laneway.client import Client
from laneway.testing import DeadLetter, Sandbox
from laneway.testing.letters import dead_letter
from schemas import codec
from schemas.control import Cancelled
from schemas.outcome import Event, Outcome
from schemas.settings import Settings
from schemas.status import State, Status
from schemas.submission import SubmitOptions
from schemas.topics import Topics
from tests.support.kafka import Record, read_all
from tests.support.workers import RunningWorker

WITHIN: Final = timedelta(seconds=60)

Answer = TypeVar("Answer")


class System(Protocol):
    """Where tasks run."""

    @property
    def now(self) -> datetime:
        """Its time."""

    def submit(self, type_name: str, payload: object, **options: Unpack[SubmitOptions]) -> Status:
        """Accept a task."""

    def final(self, task_id: str) -> Status:
        """The final status, once it is."""

    def begun(self, task_id: str) -> None:
        """Wait until it runs."""

    def cancel(self, task_id: str) -> Cancelled:
        """Call it off."""

    def pause(self, type_name: str, priority: str) -> None:
        """Hold a lane: whoever works on it knows when this returns."""

    def resume(self, type_name: str, priority: str) -> None:
        """Let it flow again."""

    def wait(self, seconds: float) -> None:
        """Let time pass."""

    def outcomes(self, task: Status) -> list[Outcome]:
        """The task's records in ``results.<type>``."""

    def events(self, task: Status) -> list[Event]:
        """The task's timeline."""

    def dead_letters(self, task: Status) -> list[DeadLetter]:
        """The task's records in ``tasks.<type>.dlq``."""


class InSandbox:
    """The test kit."""

    def __init__(self, lane: Sandbox) -> None:
        self._lane = lane

    @property
    def now(self) -> datetime:
        return self._lane.now

    def submit(self, type_name: str, payload: object, **options: Unpack[SubmitOptions]) -> Status:
        return self._lane.submit(type_name, payload, **options)

    def final(self, task_id: str) -> Status:
        self._lane.run(task_id)
        return self._lane.status(task_id)

    def begun(self, task_id: str) -> None:
        self._lane.advance(0.1)
        assert self._lane.status(task_id).state is State.RUNNING

    def cancel(self, task_id: str) -> Cancelled:
        return self._lane.cancel(task_id)

    def pause(self, type_name: str, priority: str) -> None:
        self._lane.pause(type_name, priority)

    def resume(self, type_name: str, priority: str) -> None:
        self._lane.resume(type_name, priority)

    def wait(self, seconds: float) -> None:
        self._lane.advance(seconds)

    def outcomes(self, task: Status) -> list[Outcome]:
        self._lane.advance(60)
        return [outcome for outcome in self._lane.outcomes(task.type) if outcome.id == task.id]

    def events(self, task: Status) -> list[Event]:
        return self._lane.events(task.id)

    def dead_letters(self, task: Status) -> list[DeadLetter]:
        return [letter for letter in self._lane.dead_letters(task.type) if letter.task_id == task.id]


class OnKafka:
    """API, worker and broker."""

    def __init__(self, settings: Settings, client: Client, worker: RunningWorker) -> None:
        self._worker = worker
        self._bootstrap_servers = settings.bootstrap_servers
        self._topics = Topics(settings.kafka.topic_prefix)
        self._client = client

    @property
    def now(self) -> datetime:
        return datetime.now(UTC)

    def submit(self, type_name: str, payload: object, **options: Unpack[SubmitOptions]) -> Status:
        return self._client.submit(type_name, payload, **options)

    def final(self, task_id: str) -> Status:
        return self._client.wait(task_id, WITHIN)

    def begun(self, task_id: str) -> None:
        _soon(lambda: self._client.get(task_id).state is State.RUNNING)

    def cancel(self, task_id: str) -> Cancelled:
        return self._client.cancel(task_id).cancellation

    def pause(self, type_name: str, priority: str) -> None:
        said = self._worker.log.read_text().count("lane held")
        self._client.pause(type_name, priority)
        assert _soon(lambda: self._worker.log.read_text().count("lane held") > said)

    def resume(self, type_name: str, priority: str) -> None:
        self._client.resume(type_name, priority)

    def wait(self, seconds: float) -> None:
        time.sleep(seconds)

    def outcomes(self, task: Status) -> list[Outcome]:
        return [codec.decode(record.value, Outcome) for record in self._of(task, self._topics.results(task.type))]

    def events(self, task: Status) -> list[Event]:
        return [codec.decode(record.value, Event) for record in self._of(task, self._topics.events)]

    def dead_letters(self, task: Status) -> list[DeadLetter]:
        if task.state is State.SUCCEEDED:
            self.outcomes(task)  # a dead letter would come with it
        topic = self._topics.dead_letters(task.type)
        return [
            dead_letter(record.key, record.value, [(name, value or b"") for name, value in record.headers])
            for record in self._of(task, topic, awaited=task.state is State.DEAD_LETTERED)
        ]

    def _of(self, task: Status, topic: str, *, awaited: bool = True) -> list[Record]:
        """What there is of a task that has ended; its last records follow its status, so they may be a moment late."""

        def found() -> list[Record]:
            return [record for record in read_all(self._bootstrap_servers, topic) if record.key == task.id.encode()]

        return _soon(found) if awaited else found()


def _soon(question: Callable[[], Answer]) -> Answer:
    """The first true answer, or the last one there is within some seconds."""
    deadline = time.monotonic() + 5
    while not (answer := question()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return answer
