"""Token buckets. Pure: the clock is given."""

from schemas.rate import Rate


class TokenBucket:
    """Lets through so many in a time, evenly: a burst is one second's worth, or one where a second has less.

    A new one is empty, so that starting workers again and again starts nothing that waiting would not.
    """

    def __init__(self, rate: Rate, now: float) -> None:
        self._per_second = rate.per_second
        self._share = 1.0
        self._tokens = 0.0
        self._at = now

    @property
    def share(self) -> float:
        """Which part of the rate is this bucket's."""
        return self._share

    def set_share(self, share: float, now: float) -> None:
        """Give the bucket another part of the rate from now on."""
        self._fill(now)
        self._share = share

    def wait(self, now: float) -> float:
        """Seconds until a token is there; zero when one is."""
        self._fill(now)
        if self._tokens >= 1:
            return 0.0
        pace = self._per_second * self._share
        return (1 - self._tokens) / pace if pace > 0 else float("inf")

    def take(self) -> None:
        """Use a token; ``wait`` said that there is one."""
        self._tokens -= 1

    def _fill(self, now: float) -> None:
        pace = self._per_second * self._share
        self._tokens = min(max(1.0, pace), self._tokens + (now - self._at) * pace)
        self._at = now
