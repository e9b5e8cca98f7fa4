"""What follows from an exception: the arithmetic of retries, without a clock or a broker."""

import random
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Literal

from schemas.errors import LanewayError, PoisonError, RetryLater, TaskCancelledError, TransportError
from schemas.headers import MAX_ERROR_MESSAGE
from schemas.status import ErrorInfo


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """How often and how late a type is tried again: exponential backoff with full jitter.

    The wait before attempt ``n + 1`` is drawn evenly from zero to ``min(max_delay, first_delay * factor**(n - 1))``.
    """

    max_attempts: int = 5
    """Runs in all; the first counts."""
    first_delay: timedelta = timedelta(seconds=1)
    factor: float = 2.0
    max_delay: timedelta = timedelta(minutes=10)
    jitter: bool = True
    """``False`` waits the full bound each time: predictable, and a herd after an outage."""
    on: tuple[type[BaseException], ...] = (Exception,)
    """Only these are tried again."""
    never: tuple[type[BaseException], ...] = ()
    """These are not, even when ``on`` has them."""

    def __post_init__(self) -> None:
        if self.max_attempts < 1:
            raise ValueError(f"RetryPolicy: max_attempts is {self.max_attempts}; the first run counts, want 1 or more")
        if self.first_delay < timedelta(0) or self.max_delay < timedelta(0) or self.factor < 1:
            raise ValueError("RetryPolicy: delays cannot be negative and factor cannot be below 1")

    def backoff(self, attempt: int, rng: random.Random | None = None) -> timedelta:
        """How long to wait after attempt ``attempt`` (from 1) failed."""
        exponent = min(attempt - 1, 64)  # past that any factor above 1 is far over max_delay; avoids an overflow
        bound = min(self.max_delay.total_seconds(), self.first_delay.total_seconds() * self.factor**exponent)
        return timedelta(seconds=(rng or _RNG).uniform(0, bound) if self.jitter else bound)

    def retries(self, error: BaseException) -> bool:
        """Whether ``error`` may be tried again at all."""
        if isinstance(error, self.never):
            return False
        if isinstance(error, LanewayError):
            return error.retriable
        return isinstance(error, self.on)


_RNG: Final = random.Random()  # noqa: S311  (jitter, not a secret)


@dataclass(frozen=True)
class Retry:
    """Run again after ``delay``."""

    delay: timedelta
    spends_attempt: bool
    error: ErrorInfo


@dataclass(frozen=True)
class DeadLetter:
    """Never again by itself."""

    reason: Literal["rejected", "exhausted", "not_retriable", "poison"]
    error: ErrorInfo


@dataclass(frozen=True)
class Cancel:
    """It was cancelled while it ran."""

    error: ErrorInfo


Verdict = Retry | DeadLetter | Cancel


def describe(error: BaseException) -> ErrorInfo:
    """One failure in the words of statuses and headers."""
    message = str(error) or "no message"
    if len(message) > MAX_ERROR_MESSAGE:
        message = message[: MAX_ERROR_MESSAGE - 1] + "…"
    retriable = error.retriable if isinstance(error, LanewayError) else True
    return ErrorInfo(type=type(error).__name__, message=message, retriable=retriable)


def verdict(
    error: BaseException, *, attempt: int, max_attempts: int, policy: RetryPolicy, rng: random.Random | None = None
) -> Verdict:
    """Turn what an attempt raised into what follows.

    Args:
        error: what the handler, or the worker about it, raised.
        attempt: number of the run that failed, from 1.
        max_attempts: the task's own bound, which may differ from the policy's.
        policy: the type's.
        rng: source of the jitter; tests give a seeded one.
    """
    info = describe(error)
    if isinstance(error, RetryLater):
        return Retry(error.delay, spends_attempt=False, error=info)
    if isinstance(error, TaskCancelledError):
        return Cancel(info)
    if isinstance(error, PoisonError):
        return DeadLetter("poison", info)
    if isinstance(error, TransportError) and error.retriable:
        return Retry(policy.backoff(1, rng), spends_attempt=False, error=info)
    if not policy.retries(error):
        info = ErrorInfo(type=info.type, message=info.message, retriable=False)
        return DeadLetter("rejected" if isinstance(error, LanewayError) else "not_retriable", info)
    if attempt >= max_attempts:
        return DeadLetter("exhausted", info)
    return Retry(policy.backoff(attempt, rng), spends_attempt=True, error=info)
