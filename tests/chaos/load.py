"""Producers over HTTP that never stop asking, and note what they were promised."""

import asyncio
import contextlib
import time
from random import Random
from typing import Any, Final

import httpx

from schemas.status import State
from schemas.task import Priority
from tests.support.chaos.accepted import Submission
from tests.support.chaos.handlers import WORK
from tests.support.chaos.trial import Trial

PRIORITIES: Final = (Priority.HIGH, Priority.NORMAL, Priority.NORMAL, Priority.LOW)
MAX_ATTEMPTS: Final = 3
LONGEST_WORK: Final = 4.0
_TIMEOUT: Final = 15.0


class Load:
    """A few producers of plain tasks, and one for each ordering key.

    Args:
        trial: whose API is asked and whose ledger is written.
        address: of the API.
        rng: decides about every task.
        rate: tasks a second in all.
        keys: how many ordering keys; each has its producer, which asks for the next task once it has the promise of
            the one before.
    """

    def __init__(self, trial: Trial, address: str, rng: Random, *, rate: float, keys: int) -> None:
        self.refused_at: list[float] = []
        """When a question was asked that was answered without a promise, by `time.monotonic`."""
        self.promised_after: list[float] = []
        """Seconds from when a task was first asked for to its promise, refusals and repetitions in between included."""
        self.unanswered = 0
        """Requests that got no answer at all."""
        self._trial = trial
        self._address = address
        self._rng = rng
        self._keys = [f"key-{number}" for number in range(keys)]
        self._pause = (4 + keys) / rate
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Ask for nothing more."""
        self._stopping.set()

    async def run(self) -> None:
        """Produce until ``stop``."""
        async with httpx.AsyncClient(base_url=self._address, timeout=_TIMEOUT) as client:
            producers = [self._produce(client, None) for _ in range(4)]
            producers += [self._produce(client, key) for key in self._keys]
            await asyncio.gather(*producers)

    async def _produce(self, client: httpx.AsyncClient, key: str | None) -> None:
        while not self._stopping.is_set():
            await self._one(client, key)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), self._rng.expovariate(1 / self._pause))

    async def _one(self, client: httpx.AsyncClient, ordering_key: str | None) -> None:
        kind = self._rng.random()
        ok_at, ends = 1, (State.SUCCEEDED,)
        if kind < 0.08:
            ok_at = self._rng.choice((2, 3))
        elif kind < 0.12:
            ok_at, ends = 99, (State.DEAD_LETTERED,)
        seconds = self._rng.choice((0.0, 0.0, 0.01, 0.05, 0.2))
        if self._rng.random() < 0.02:
            seconds = self._rng.uniform(1.0, LONGEST_WORK)
        keyed = self._rng.random() < 0.5
        submission = self._trial.accepted.asked(
            ordering_key=ordering_key,
            idempotency_key=f"{self._rng.getrandbits(64):x}" if keyed else None,
            max_attempts=MAX_ATTEMPTS,
            ends=ends,
        )
        priority = Priority.NORMAL if ordering_key is not None else self._rng.choice(PRIORITIES)
        body: dict[str, Any] = {
            "type": WORK,
            "priority": priority,
            "payload": self._trial.payload(submission, seconds=seconds, ok_at=ok_at),
            "max_attempts": MAX_ATTEMPTS,
        }
        if ordering_key is not None:
            body["ordering_key"] = ordering_key
        elif self._rng.random() < 0.05:
            body["delay"] = round(self._rng.uniform(0.1, 4.0), 2)
        await self._ask(client, submission, body)

    async def _ask(self, client: httpx.AsyncClient, submission: Submission, body: dict[str, Any]) -> None:
        """Ask until there is an answer; without an idempotency key an unclear answer is the end of it."""
        headers = {"Idempotency-Key": submission.idempotency_key} if submission.idempotency_key else {}
        first = time.monotonic()
        while True:
            began = time.monotonic()
            try:
                answer = await client.post("/api/tasks", json=body, headers=headers)
            except httpx.TransportError:
                self.unanswered += 1
            else:
                if answer.status_code in (httpx.codes.ACCEPTED, httpx.codes.OK):
                    self.promised_after.append(time.monotonic() - first)
                    self._trial.accepted.promised(submission, answer.json()["id"])
                    return
                assert answer.status_code == httpx.codes.SERVICE_UNAVAILABLE, f"{answer.status_code}: {answer.text}"
                self.refused_at.append(began)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), 0.5)
            if submission.idempotency_key is None or self._stopping.is_set():
                return
