"""Accepting tasks: admission, then the log, then the answer."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from typing import Final, NamedTuple

import msgspec

from ingest import problems
from ingest.admission import (
    Acceptance,
    Admission,
    Moment,
    check_body,
    decode_batch,
    decode_submission,
    fingerprint,
    keyed_id,
    split_batch,
)
from ingest.claims import Claims, Won
from ingest.lookup import state_of
from ingest.recent import RecentTasks
from ingest.view.reader import ViewReader
from laneway import crashpoints
from laneway.ids import id_for_key, new_id
from laneway.kafka.appender import Appended
from laneway.kafka.log import Log
from laneway.kafka.wire import EncodedRecord
from schemas.codec import decode
from schemas.errors import (
    AdmissionError,
    BodyTooLargeError,
    BrokerUnavailableError,
    RecordTooLargeError,
    UnavailableError,
)
from schemas.status import State, Status
from schemas.task import Lane, Priority, TaskSubmission

MAX_BATCH: Final = 10_000
_NOT_BEGUN: Final = frozenset({State.SCHEDULED, State.QUEUED})
_CHUNK: Final = 250
"""Tasks of a batch that are admitted in one go; between chunks the loop serves others."""


_AT_ONCE: Final = 100
"""Tasks of a repeated batch that are looked for at once."""


class _Chunk(NamedTuple):
    positions: list[int]
    """Where its tasks stand in the batch."""
    accepted: list[Acceptance]
    sent: "asyncio.Future[Appended]"


class Answer(NamedTuple):
    """What a submission is answered with."""

    id: str
    document: bytes
    created: bool
    """Whether this request made the task; else an earlier one with the same key did."""


class Batch(NamedTuple):
    """What a batch is answered with."""

    answers: list[bytes]
    """A JSON object for each task, in their order."""
    refused: bool
    """Whether any of them was."""


class Intake:
    """Takes submissions in.

    Delivery: an answer means that every in-sync replica has the task. An error means that nothing was promised, though
        the task may be in the log.

    Raises:
        AdmissionError: (every method) the submission is refused, or the log cannot take it.
    """

    def __init__(
        self, admission: Admission, log: Log, view: ViewReader, recent: RecentTasks, accept_timeout: float
    ) -> None:
        self._accept_timeout = accept_timeout
        self._admission = admission
        self._log = log
        self._view = view
        self._recent = recent
        self._claims = Claims(admission, log, view)
        self._locks: dict[str, tuple[asyncio.Lock, int]] = {}
        self.accepted: Counter[Lane] = Counter()
        """Tasks by lane that the log has taken."""

    async def submit(self, body: bytes, moment: Moment) -> Answer:
        """Accept one task."""
        submission = decode_submission(body)
        accepted = self._admission.accept(submission, moment, new_id())
        records = accepted.task, accepted.status, accepted.event
        return await self._append(accepted, *records, urgent=submission.priority is Priority.HIGH)

    async def submit_keyed(self, body: bytes, moment: Moment, key: str, tries: int | None = None) -> Answer:
        """Accept one task, once for all requests with ``key``.

        Args:
            body: of the request.
            moment: of the request.
            key: names the task.
            tries: how often a client that made this key for this very request has sent it, this time included. The
                first time the log is not asked for earlier ones.
        """
        return await self._submit_as(keyed_id(key), body, moment, tries)

    async def _submit_as(self, task_id: str, body: bytes, moment: Moment, tries: int | None) -> Answer:
        # The steps have each their bound; all of them together are to end in time, too.
        try:
            async with asyncio.timeout(self._accept_timeout):
                return await self._submit_once(task_id, body, moment, tries)
        except TimeoutError:
            raise UnavailableError(
                "not confirmed in time, so nothing was promised; send it again with the same Idempotency-Key"
            ) from None

    async def _submit_once(self, task_id: str, body: bytes, moment: Moment, tries: int | None) -> Answer:
        submission = decode_submission(body)
        digest = fingerprint(body)
        urgent = submission.priority is Priority.HIGH
        async with self._only_one(task_id):
            present = self._view.find_quietly(task_id)
            recent = self._recent.find(task_id, self._view.applied) if present is None else None
            if present is None:
                present = recent if recent is not None or tries == 1 else await self._view.find_strongly(task_id)
            if present is None:
                accepted = self._admission.accept(submission, moment, task_id, digest)
                if tries == 1:
                    return await self._append(accepted, accepted.task, accepted.status, accepted.event, urgent=urgent)
                won = await self._claims.decide(accepted, moment, digest, urgent=urgent)
                if isinstance(won, Won):
                    return await self._make(submission, accepted, moment, won, first=tries is None)
                present = won
            status = decode(present, Status)
            check_body(status, digest)
            # What was acknowledged here a moment ago is in its lane for certain.
            if recent is None and tries is not None and status.state in _NOT_BEGUN:
                await self._append_again(submission, moment, status)
            return Answer(task_id, present, created=False)

    async def _make(
        self, submission: TaskSubmission, accepted: Acceptance, moment: Moment, won: Won, *, first: bool
    ) -> Answer:
        """Append the task of a key, and then its status: where there is a status, the task is in its lane.

        Args:
            submission: what is asked for.
            accepted: the task as this request would make it.
            moment: of the request.
            won: the claim that counts.
            first: whether no earlier try of this request can be under way.
        """
        created_at = won.claim.created_at
        if not (won.alone and first):
            accepted = self._admission.accept(
                submission, moment, accepted.id, won.claim.fingerprint, created_at=created_at, since=created_at
            )
        await self._log.send([accepted.task], urgent=True)
        if crashpoints.armed:
            crashpoints.reached("after_task")
        answer = await self._append(accepted, accepted.status, accepted.event, urgent=True)
        return answer._replace(created=won.mine)

    async def _append(self, accepted: Acceptance, *records: EncodedRecord, urgent: bool) -> Answer:
        """Append what is left of a task's records, and answer."""
        appended = await self._log.send(records, urgent=urgent)
        if crashpoints.armed:
            crashpoints.reached("after_accept")
        self._remember(accepted, appended)
        return Answer(accepted.id, accepted.document, created=True)

    async def _append_again(self, submission: TaskSubmission, moment: Moment, status: Status) -> None:
        """Append a task whose status alone is certain: its first try was given up between the two.

        Marked, so that the worker looks its status up: should the first record be there, this one starts nothing.
        """
        accepted = self._admission.accept(
            submission, moment, status.id, status.fingerprint, created_at=status.created_at, since=status.created_at
        )
        await self._log.send([accepted.task])

    async def submit_many(
        self, body: bytes, moment: Moment, *, lines: bool, key: str | None = None, tries: int | None = None
    ) -> Batch:
        """Accept those tasks of a batch that can be.

        Args:
            body: one submission a line, or a JSON array.
            moment: of the request.
            lines: which of the two.
            key: names, with its place in the batch, each of the tasks: the same place with the same submission is the
                same task.
            tries: as in ``submit_keyed``.

        Raises:
            UnavailableError: the log took none of those that were admitted.
        """
        submissions = decode_batch(body, lines=lines) if key is None else None
        each = split_batch(body, lines=lines) if submissions is None else submissions
        if key is not None:
            keyed_id(key)  # one that no single task could have is refused here, too
        if len(each) > MAX_BATCH:
            raise BodyTooLargeError(f"a batch has at most {MAX_BATCH} tasks; this one has {len(each)}", limit=MAX_BATCH)
        if key is not None and (tries != 1 or self._known(key, len(each))):
            return await self._submit_again(split_batch(body, lines=lines), moment, key, tries)
        answers: list[bytes] = []
        sending: list[_Chunk] = []
        refused = False
        accept = self._admission.accept
        for start in range(0, len(each), _CHUNK):
            if start:
                await asyncio.sleep(0)
            accepted: list[Acceptance] = []
            positions: list[int] = []
            records: list[EncodedRecord] = []
            for one in each[start : start + _CHUNK]:
                try:
                    if isinstance(one, TaskSubmission):
                        taken = accept(one, moment, new_id())
                    else:
                        taken = self._admit(bytes(one), moment, key, len(answers))
                except AdmissionError as error:
                    answers.append(refusal(error))
                    refused = True
                else:
                    positions.append(len(answers))
                    accepted.append(taken)
                    answers.append(b"")
                    records += (taken.task, taken.status, taken.event)
            if records:
                sending.append(_Chunk(positions, accepted, self._log.send(records)))
        failed = await self._settle(sending, answers)
        return Batch(answers, refused=refused or failed)

    def _admit(self, body: bytes, moment: Moment, key: str | None, place: int) -> Acceptance:
        submission = decode_submission(body)
        if key is None:
            return self._admission.accept(submission, moment, new_id())
        return self._admission.accept(submission, moment, _place_id(key, place), fingerprint(body))

    def _known(self, key: str, length: int) -> bool:
        """Whether a batch was here before, though its client says that it was not: something repeats requests."""
        ids = [_place_id(key, place) for place in ({0, length - 1} if length else ())]
        return any(
            self._view.find_quietly(each) is not None or self._recent.find(each, self._view.applied) is not None
            for each in ids
        )

    async def _submit_again(
        self, each: list[bytes] | list[msgspec.Raw], moment: Moment, key: str, tries: int | None
    ) -> Batch:
        """Accept those tasks of a batch that can be and are not there yet."""

        async def one(place: int) -> bytes | AdmissionError:
            try:
                answer = await self._submit_as(_place_id(key, place), bytes(each[place]), moment, tries)
            except AdmissionError as error:
                return error
            except (BrokerUnavailableError, RecordTooLargeError) as error:
                return _failure(error)
            state = state_of(answer.document)
            return b'{"id":"%b","state":"%b"}' % (answer.id.encode(), state.encode())

        answers: list[bytes | AdmissionError] = []
        for start in range(0, len(each), _AT_ONCE):
            answers += await asyncio.gather(*map(one, range(start, min(start + _AT_ONCE, len(each)))))
        errors = [answer for answer in answers if isinstance(answer, AdmissionError)]
        if errors and len(errors) == len(answers) and all(isinstance(error, UnavailableError) for error in errors):
            raise errors[0]
        told = [refusal(answer) if isinstance(answer, AdmissionError) else answer for answer in answers]
        return Batch(told, refused=bool(errors))

    async def _settle(self, chunks: "list[_Chunk]", answers: list[bytes]) -> bool:
        """Wait for the log's answers, fill in the tasks', and tell whether there were failures among them."""
        last: AdmissionError | None = None
        failures = 0
        for chunk in chunks:
            try:
                appended = await chunk.sent
            except (BrokerUnavailableError, RecordTooLargeError) as error:
                last = _failure(error)
                failures += 1
                refused = refusal(last)
                for position in chunk.positions:
                    answers[position] = refused
                continue
            for position, accepted in zip(chunk.positions, chunk.accepted, strict=True):
                self._remember(accepted, appended)
                answers[position] = b'{"id":"%b","state":"%b"}' % (accepted.id.encode(), accepted.state.encode())
        if last is not None and failures == len(chunks):
            raise last
        return failures > 0

    def _remember(self, accepted: Acceptance, appended: Appended) -> None:
        partition = accepted.partition
        self.accepted[accepted.lane] += 1
        self._recent.add(accepted.id, accepted.document, partition, appended.last[accepted.status.topic, partition])

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


def _place_id(key: str, place: int) -> str:
    """The id of the task at a place of a batch; no header can hold the key of a single task that would be the same."""
    return id_for_key(f"{key}\n{place}")


def _failure(error: BrokerUnavailableError | RecordTooLargeError) -> AdmissionError:
    if isinstance(error, RecordTooLargeError):
        return BodyTooLargeError("the task is larger than the log takes")
    return problems.unavailable(error)


def refusal(error: AdmissionError) -> bytes:
    """A task of a batch that is not accepted."""
    return msgspec.json.encode({"error": problems.document(error)})
