"""Batches of records as Faust's events: nearly all that a record costs in Faust is spent once for each event."""

from collections.abc import Iterator, Mapping
from typing import Any

import faust
from faust.types import TP, EventT
from faust.types.transports import SchedulingStrategyT
from faust.types.tuples import Message


class Batches(SchedulingStrategyT):
    """Each partition's records as one."""

    @classmethod
    def map_from_records(cls, records: Mapping[TP, list[Any]]) -> Any:
        """Not used: there is nothing to interleave."""
        return records

    def iterate(self, records: Mapping[TP, list[Any]]) -> Iterator[tuple[TP, Any]]:
        """Pairs of partition and the list of its records."""
        return iter(records.items())

    def records_iterator(self, index: Any) -> Iterator[tuple[TP, Any]]:
        """The same."""
        return iter(index.items())


class BatchTopic(faust.Topic):
    """A topic whose events carry batches: the values are decoded by whoever knows what to do with bad ones."""

    def _compile_decode(self) -> None:
        """Leave ``decode`` as below: Faust would put its own in place."""

    async def decode(self, message: Message, *, propagate: bool = False) -> EventT[Any]:
        """The batch as it is."""
        return self._create_event(message.key, message.value, {}, message=message)


class NoReadOffsets(dict[TP, int | None]):
    """Knows of no record that was delivered.

    By what it notes there Faust drops a batch whose last record is not beyond one that it has delivered. It notes that
    after a rebalance, too, of a record from before: then the first batch of those that come again would be lost. What
    comes twice the trackers recognise.
    """

    def __missing__(self, key: TP) -> None:
        return None

    def __setitem__(self, key: TP, value: int | None) -> None:
        """Nothing."""
