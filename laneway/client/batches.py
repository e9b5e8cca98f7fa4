"""Submitting many tasks: any number, in batches that the API takes, with an answer for each."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterable, AsyncIterator, Generator, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Required

import msgspec

from laneway.client.operations import Answer, Operation, Request, Response, error_of, raise_for_problem
from laneway.ids import new_id
from schemas.errors import AdmissionError, BodyTooLargeError, InvalidTaskError, UnavailableError
from schemas.status import State
from schemas.submission import SubmitOptions, plain, said

MOST_TASKS: Final = 10_000
"""Of one request; more the API does not take."""
_MOST_BYTES: Final = 4 * 1024 * 1024
_UNAVAILABLE: Final = b'"type":"/problems/unavailable"'


class NewTask(SubmitOptions, total=False):
    """A task to be accepted: what ``submit`` takes, by the names of the API."""

    type: Required[str]
    payload: Required[object]


class Accepted(msgspec.Struct, frozen=True):
    """A task of a batch that was accepted."""

    id: str
    state: State


class _Told(msgspec.Struct):
    id: str = ""
    state: State = State.QUEUED
    error: dict[str, Any] | None = None


BatchAnswer = Accepted | AdmissionError
_Slot = bytes | AdmissionError
"""A task as it is sent, or why it is not."""


class BatchClient(ABC):
    """The part of ``Client`` that submits many tasks."""

    @abstractmethod
    def _run(self, operation: Operation[Answer]) -> Answer:
        """Carry an operation's requests."""

    def submit_batch(self, tasks: "Iterable[NewTask | bytes]") -> list[BatchAnswer]:
        """Accept many tasks; the answers stand in their order.

        Delivery: each answer is ``Accepted``, once every in-sync replica has the task, or the error by which it was
            refused; nothing but a bug is raised. What was lost on the way is sent again without making a second task;
            a task whose answer is ``UnavailableError`` may be there or not.
        Memory: some thousand tasks at a time, and all answers; ``submit_each`` keeps none.

        Args:
            tasks: any number of them, such as ``{"type": "email", "payload": {…}, "priority": "low"}``, or such
                objects as JSON. ``idempotency_key`` is refused: it is of ``submit`` alone.
        """
        return list(self.submit_each(tasks))

    def submit_each(self, tasks: "Iterable[NewTask | bytes]") -> Iterator[BatchAnswer]:
        """The same, as an iterator: tasks are taken and sent as answers are asked for, thousands at a time."""
        chunk = _Chunk()
        for task in tasks:
            slot = _slot_of(task)
            if not chunk.has_room(slot):
                yield from self._submit(chunk.take())
            chunk.add(slot)
        yield from self._submit(chunk.take())

    def _submit(self, slots: "list[_Slot]") -> Iterator[BatchAnswer]:
        lines = [slot for slot in slots if isinstance(slot, bytes)]
        try:
            answers = self._run(submit_lines(lines)) if lines else []
        except UnavailableError as error:
            answers = [error] * len(lines)
        return _merged(slots, answers)


class AsyncBatchClient(ABC):
    """The part of ``AsyncClient`` that submits many tasks."""

    @abstractmethod
    async def _run(self, operation: Operation[Answer]) -> Answer:
        """Carry an operation's requests."""

    async def submit_batch(
        self, tasks: "Iterable[NewTask | bytes] | AsyncIterable[NewTask | bytes]"
    ) -> list[BatchAnswer]:
        """Accept many tasks; as ``Client.submit_batch`` says."""
        return [answer async for answer in self.submit_each(tasks)]

    async def submit_each(
        self, tasks: "Iterable[NewTask | bytes] | AsyncIterable[NewTask | bytes]"
    ) -> AsyncIterator[BatchAnswer]:
        """Accept many tasks; as ``Client.submit_each`` says."""
        chunk = _Chunk()
        async for task in _each(tasks):
            slot = _slot_of(task)
            if not chunk.has_room(slot):
                for answer in await self._submit(chunk.take()):
                    yield answer
            chunk.add(slot)
        for answer in await self._submit(chunk.take()):
            yield answer

    async def _submit(self, slots: "list[_Slot]") -> Iterator[BatchAnswer]:
        lines = [slot for slot in slots if isinstance(slot, bytes)]
        try:
            answers = await self._run(submit_lines(lines)) if lines else []
        except UnavailableError as error:
            answers = [error] * len(lines)
        return _merged(slots, answers)


def submit_lines(lines: Sequence[bytes]) -> Operation[list[BatchAnswer]]:
    """Ask for tasks, at least one, one on each line; under a key, so that sending them twice makes each of them once.

    Raises:
        UnavailableError: (where the requests are carried) no API answered.
    """
    response = yield Request(
        method="POST",
        path="/api/tasks/batch",
        headers={"Content-Type": "application/x-ndjson", "Idempotency-Key": new_id()},
        content=b"\n".join(lines),
        numbered=True,
        again=_unsettled,
    )
    try:
        raise_for_problem(response)
    except BodyTooLargeError as error:
        # Nothing of it was accepted. An API of which less is asked may take it.
        if len(lines) == 1:
            return [error]
        half = len(lines) // 2
        first = yield from submit_lines(lines[:half])
        second = yield from submit_lines(lines[half:])
        return first + second
    except AdmissionError as error:
        return [error] * len(lines)
    return [
        Accepted(each.id, each.state) if each.error is None else error_of(each.error, each.error.get("status", 400))
        for each in msgspec.json.decode(response.body, type=dict[str, list[_Told]])["tasks"]
    ]


class _Chunk:
    """Tasks that one request is to carry."""

    def __init__(self) -> None:
        self._slots: list[_Slot] = []
        self._bytes = 0

    def has_room(self, slot: _Slot) -> bool:
        """Whether one more is not too much; an empty one takes anything."""
        size = len(slot) if isinstance(slot, bytes) else 0
        return not self._slots or (len(self._slots) < MOST_TASKS and self._bytes + size <= _MOST_BYTES)

    def add(self, slot: _Slot) -> None:
        """Put a task behind the others."""
        self._slots.append(slot)
        self._bytes += len(slot) + 1 if isinstance(slot, bytes) else 0

    def take(self) -> list[_Slot]:
        """Everything, leaving nothing."""
        slots, self._slots, self._bytes = self._slots, [], 0
        return slots


def _slot_of(task: "NewTask | bytes") -> _Slot:
    if isinstance(task, bytes):
        if b"\n" in task:  # it would be two lines, and every answer behind it another task's
            return InvalidTaskError("the task is on more than one line of JSON")
        return task if task.strip() else InvalidTaskError("the task is an empty line")
    if task.get("idempotency_key") is not None:
        return InvalidTaskError("idempotency_key: a batch has none of its tasks' own; give it to submit")
    given: Mapping[str, object] = task
    of_task = {name: given[name] for name in ("type", "payload") if name in given}
    try:
        body = of_task | said({name: value for name, value in given.items() if name not in of_task})
        return msgspec.json.encode(body, enc_hook=plain)
    except (TypeError, ValueError, OverflowError) as error:
        return InvalidTaskError(f"the task cannot be written as JSON: {error}")


def _unsettled(response: Response) -> bool:
    """Whether the log could not take some of the tasks just now."""
    return _UNAVAILABLE in response.body


def _merged(slots: "list[_Slot]", answers: list[BatchAnswer]) -> Generator[BatchAnswer, None, None]:
    """The answers in the order of all tasks, those among them that were not sent."""
    left = iter(answers)
    for slot in slots:
        yield next(left) if isinstance(slot, bytes) else slot


async def _each(
    tasks: "Iterable[NewTask | bytes] | AsyncIterable[NewTask | bytes]",
) -> "AsyncIterator[NewTask | bytes]":
    if isinstance(tasks, AsyncIterable):
        async for task in tasks:
            yield task
    else:
        for task in tasks:
            yield task
