"""What waits on the broker, asked of the broker itself."""

from collections.abc import Mapping

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from laneway.kafka.clients import client_config
from schemas.settings import Settings


class LagProbe:
    """Asks for end offsets, all in one request. A consumer that has stopped to fetch does not know them.

    Blocking: ``lag`` does, up to ``within`` seconds.
    """

    def __init__(self, settings: Settings, *, within: float = 10.0) -> None:
        self._within = within
        self._config = client_config(settings, "laneway-lag")
        self._admin: AdminClient | None = None

    def lag(self, positions: Mapping[tuple[str, int], int]) -> int | None:
        """Records at and beyond these positions, by (topic, partition); ``None`` when the broker does not tell."""
        if not positions:
            return 0
        # Made when it is first needed, which for most workers is never: it has threads of its own.
        self._admin = self._admin or AdminClient(self._config)
        asked = {
            TopicPartition(topic, number): OffsetSpec.latest()  # type: ignore[no-untyped-call]
            for topic, number in positions
        }
        lag = 0
        try:
            for tp, future in self._admin.list_offsets(asked, request_timeout=self._within).items():
                end = future.result(self._within + 1).offset
                lag += max(0, end - positions[tp.topic, tp.partition])
        except (KafkaException, TimeoutError):
            self._admin = None  # it keeps the leaders that it once learned; the next one asks anew
            return None
        return lag
