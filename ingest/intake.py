"""Accepting tasks: admission, then the log, then the answer."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Final, NamedTuple

import msgspec

from ingest import problems
from ingest.admission import Acceptance, Admission, Moment, decode_submission, fingerprint, keyed_id
from ingest.recent import RecentTasks
from ingest.view.reader import ViewReader
from laneway.ids import new_id
from laneway.kafka.producer import OutgoingRecord, RecordMetadata, RecordProducer
from schemas.codec import decode
from schemas.errors import (
    AdmissionError,
    BodyTooLargeError,
    BrokerUnavailableError,
    IdempotencyConflictError,
    RecordTooLargeError,
)
from schemas.settings import Settings
from schemas.status import Status

_CHUNK: Final = 250
"""Tasks of a batch that are admitted in one go; between chunks the loop serves others."""


class _Chunk(NamedTuple):
    positions: list[int]
    """Where its tasks stand in the batch."""
    accepted: list[Acceptance]
    sent: "asyncio.Future[list[RecordMetadata]]"


class Answer(NamedTuple):
    """What a submission is answered with."""

    id: str
    document: bytes
    created: bool
    """Whether this request made the task; else an earlier one with the same key did."""


class Intake:
    """Takes submissions in.

    Delivery: an answer means that every in-sync replica has the task. An error means that nothing was promised, though
        the task may be in the log.

    Raises:
        AdmissionError: (every method) the submission is refused, or the log cannot take it.
    """

    def __init__(
        self, settings: Settings, admission: Admission, producer: RecordProducer, view: ViewReader, recent: RecentTasks
    ) -> None:
        self._admission = admission
        self._producer = producer
        self._view = view
        self._recent = recent
        self._bound = settings.api.accept_timeout
        self._locks: dict[str, tuple[asyncio.Lock, int]] = {}

    async def submit(self, body: bytes, moment: Moment) -> Answer:
        """Accept one task."""
        accepted = self._admission.accept(decode_submission(body), moment, new_id())
        where = await self._append([accepted.task, accepted.status, accepted.event])
        self._recent.add(accepted.id, accepted.document, where[1])
        return Answer(accepted.id, accepted.document, created=True)

    async def submit_keyed(self, body: bytes, moment: Moment, key: str) -> Answer:
        """Accept one task, once for all requests with ``key``."""
        task_id = keyed_id(key)
        submission = decode_submission(body)
        digest = fingerprint(body)
        async with self._only_one(task_id):
            present = self._recent_or_none(task_id) or await self._view.find_strongly(task_id)
            if present is not None:
                if decode(present, Status).fingerprint != digest:
                    raise IdempotencyConflictError(
                        "this Idempotency-Key was used with another body; use a new key for a new task", id=task_id
                    )
                return Answer(task_id, present, created=False)
            accepted = self._admission.accept(submission, moment, task_id, digest)
            # The task before its status. A status alone, left by a failure between the two, would make the next
            # request with this key believe in a task that is not there.
            await self._append([accepted.task])
            where = await self._append([accepted.status, accepted.event])
            self._recent.add(accepted.id, accepted.document, where[0])
        return Answer(task_id, accepted.document, created=True)

    async def submit_many(self, bodies: Sequence[bytes | msgspec.Raw], moment: Moment) -> list[bytes]:
        """Accept those of ``bodies`` that can be; one JSON object for each, in their order.

        Raises:
            UnavailableError: the log took none of those that were admitted.
        """
        answers: list[bytes] = []
        sending: list[_Chunk] = []
        for start in range(0, len(bodies), _CHUNK):
            accepted: list[Acceptance] = []
            positions: list[int] = []
            for body in bodies[start : start + _CHUNK]:
                try:
                    one = self._admission.accept(decode_submission(bytes(body)), moment, new_id())
                except AdmissionError as error:
                    answers.append(refusal(error))
                else:
                    positions.append(len(answers))
                    accepted.append(one)
                    answers.append(b"")
            records: list[OutgoingRecord] = []
            for one in accepted:
                records += one[3:]
            if records:
                sending.append(_Chunk(positions, accepted, self._producer.send(records)))
            await asyncio.sleep(0)
        await self._settle(sending, answers)
        return answers

    async def _settle(self, chunks: "list[_Chunk]", answers: list[bytes]) -> None:
        """Wait for the log's answers, and fill in the tasks'."""
        if not chunks:
            return
        await asyncio.wait([chunk.sent for chunk in chunks], timeout=self._bound)
        last: AdmissionError | None = None
        for chunk in chunks:
            error = _failure(chunk.sent)
            if error is not None:
                last = error
                refused = refusal(error)
                for position in chunk.positions:
                    answers[position] = refused
                continue
            where = chunk.sent.result()
            for index, (position, accepted) in enumerate(zip(chunk.positions, chunk.accepted, strict=True)):
                self._recent.add(accepted.id, accepted.document, where[3 * index + 1])
                answers[position] = b'{"id":"%b","state":"%b"}' % (accepted.id.encode(), accepted.state.encode())
        if last is not None and all(_failure(chunk.sent) for chunk in chunks):
            raise last

    async def _append(self, records: list[OutgoingRecord]) -> list[RecordMetadata]:
        try:
            async with asyncio.timeout(self._bound):
                return await self._producer.send(records)
        except TimeoutError as error:
            raise BrokerUnavailableError(f"not acknowledged: nothing heard in {self._bound:g} s") from error

    def _recent_or_none(self, task_id: str) -> bytes | None:
        found = self._view.find_quietly(task_id)
        return found if found is not None else self._recent.find(task_id, self._view.applied)

    @contextlib.asynccontextmanager
    async def _only_one(self, task_id: str) -> AsyncIterator[None]:
        """Requests with one key go one after the other."""
        lock, users = self._locks.get(task_id, (asyncio.Lock(), 0))
        self._locks[task_id] = lock, users + 1
        try:
            async with lock:
                yield
        finally:
            lock, users = self._locks[task_id]
            if users == 1:
                del self._locks[task_id]
            else:
                self._locks[task_id] = lock, users - 1


def _failure(sent: "asyncio.Future[list[RecordMetadata]]") -> AdmissionError | None:
    if not sent.done():
        sent.cancel()
        return problems.unavailable(BrokerUnavailableError("not acknowledged: nothing heard in time"))
    if sent.cancelled():
        return problems.unavailable(BrokerUnavailableError("not acknowledged: nothing heard in time"))
    error = sent.exception()
    if error is None:
        return None
    if isinstance(error, RecordTooLargeError):
        return BodyTooLargeError("the task is larger than the log takes")
    if isinstance(error, BrokerUnavailableError):
        return problems.unavailable(error)
    raise error


def refusal(error: AdmissionError) -> bytes:
    """A task of a batch that is not accepted."""
    return msgspec.json.encode({"error": problems.document(error)})
