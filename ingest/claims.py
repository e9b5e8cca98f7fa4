"""Which of the requests with one idempotency key makes its task, when several instances are asked at once."""

import asyncio
import contextlib
import time
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from ingest.admission import Acceptance, Admission, Moment, check_body
from ingest.view.reader import ViewReader
from laneway import crashpoints
from laneway.ids import random_hex
from laneway.kafka.log import Log
from schemas.codec import decode
from schemas.errors import UnavailableError
from schemas.status import Status

_OWN_SECONDS: Final = 1.5
"""From the claim on, whoever made it may append the task as the only one."""
GRACE_SECONDS: Final = 3.0
"""From the moment that somebody saw a claim on, whoever made it may be taken for dead."""
_REMEMBERED: Final = 10_000
"""Claims of others of which it is known when they were first seen."""
_LONG_DEAD: Final = timedelta(minutes=1)
"""Age of a claim, by clocks that differ, for which nobody waits any more."""


class Won(NamedTuple):
    """The task of a key is to be made."""

    claim: Status
    """Whose: the claim that the log has first."""
    mine: bool
    """Whether it is of this request."""
    alone: bool
    """Whether nobody else can have appended the task."""


class Claims:
    """Decides by the log's order: of the claims on an id the first one counts, for every instance.

    Delivery: whoever made the first claim may die at any moment. Another request with the same body goes on in its
        place then, with its times, so that all answers are one document.

    Raises:
        UnavailableError: (every method) it cannot be known now.
        BrokerUnavailableError: (every method) the log does not take the claim.
    """

    def __init__(self, admission: Admission, log: Log, view: ViewReader) -> None:
        self._admission = admission
        self._log = log
        self._view = view
        self._own = random_hex(8)
        """What the names of this instance's claims begin with."""
        self._seen_at: dict[str, float] = {}
        """When other instances' claims were first seen here, so that several short requests wait for one together."""

    async def decide(self, accepted: Acceptance, moment: Moment, digest: str, *, urgent: bool) -> Won | bytes:
        """Claim the id of a task that the view was just found not to have; one request for an id at a time.

        Args:
            accepted: the task as this request would make it.
            moment: of the request.
            digest: of its body.
            urgent: see ``Log.send``.

        Returns:
            The claim that counts, for which the task is to be appended; else the status document of the task, which
            another request has made meanwhile.

        Raises:
            IdempotencyConflictError: the claim that counts is for another body.
        """
        task_id = accepted.id
        began = time.monotonic()
        mine = None
        found = self._view.find_claim(task_id)
        if found is None:
            mine = await self._claim(accepted, moment, urgent=urgent)
            found = self._view.find_claim(task_id)
        present = self._view.find(task_id)
        if present is not None:
            return present
        if found is None:  # by no clock of ours: the view takes no claim that is older than its statuses
            raise UnavailableError("the claim on this Idempotency-Key is not in the status view; ask again")
        claim = decode(found, Status)
        check_body(claim, digest)
        if found == mine and time.monotonic() - began < _OWN_SECONDS:
            return Won(claim, mine=True, alone=True)
        if found != mine and datetime.now(UTC) - claim.created_at < _LONG_DEAD:
            await self._wait(task_id, claim.claim or "")
        present = await self._view.find_strongly(task_id)
        return Won(claim, mine=found == mine, alone=False) if present is None else present

    async def _claim(self, accepted: Acceptance, moment: Moment, *, urgent: bool) -> bytes:
        """Append a claim and wait until the view has it, and so every earlier one."""
        document, record = self._admission.claim(accepted, moment, self._own + random_hex(8))
        appended = await self._log.send([record], urgent=urgent)
        if crashpoints.armed:
            crashpoints.reached("after_claim")
        offset = appended.last[record.topic, record.partition]
        await self._view.reach({record.partition: offset + 1} if offset >= 0 else await self._view.ends())
        return document

    async def _wait(self, task_id: str, name: str) -> None:
        """Give whoever made the claim of that name the time to make the task."""
        if name.startswith(self._own):
            return  # requests with one key take turns here: that one gave up
        deadline = self._seen_at.setdefault(name, time.monotonic()) + GRACE_SECONDS
        if len(self._seen_at) > _REMEMBERED:
            del self._seen_at[next(iter(self._seen_at))]
        async with self._view.changes_of(task_id) as changed:
            while not self._view.released and self._view.find_quietly(task_id) is None:
                left = deadline - time.monotonic()
                if left <= 0:
                    return
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(changed.wait(), left)
                changed.clear()
