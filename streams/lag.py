"""What waits on the broker, asked of the broker itself."""

from collections.abc import Mapping

from laneway.kafka.offsets import LATEST, OffsetAsker
from schemas.errors import BrokerUnavailableError
from schemas.settings import Settings


class LagProbe:
    """Asks for end offsets, all in one request. A consumer that has stopped to fetch does not know them.

    Blocking: ``lag`` does, up to ``within`` seconds.
    """

    def __init__(self, settings: Settings, *, within: float = 10.0) -> None:
        self._within = within
        self._asker = OffsetAsker(settings, "laneway-lag")

    def lag(self, positions: Mapping[tuple[str, int], int]) -> int | None:
        """Records at and beyond these positions, by (topic, partition); ``None`` when the broker does not tell."""
        try:
            ends = self._asker.ask(positions, LATEST, within=self._within)
        except BrokerUnavailableError:
            return None
        return sum(max(0, end - positions[place]) for place, end in ends.items())
