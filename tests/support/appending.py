"""A client that appends without a pause, and judges by what it was told and what lies in the log."""

import asyncio
from collections import Counter

from laneway.kafka.appender import LogAppender
from laneway.kafka.wire import encoded_record
from schemas.errors import BrokerUnavailableError
from schemas.settings import Settings
from tests.support.kafka import Record
from tests.support.waiting import eventually


class Sender:
    """Appends numbers in three lines of one partition each; every one waits for its answer before the next."""

    def __init__(self, settings: Settings, topic: str) -> None:
        self._log = LogAppender(settings, "test", delivery_timeout=20.0)
        self._topic = topic
        self._stopping = False
        self._acknowledged: list[list[int]] = [[], [], []]
        self._refused: set[tuple[int, int]] = set()
        self._lines = [asyncio.create_task(self._append(line)) for line in range(3)]

    async def _append(self, line: int) -> None:
        number = 0
        while not self._stopping:
            number += 1
            record = encoded_record(self._topic, line, b"%d" % number, b"x" * 200, [("h", b"v")])
            try:
                appended = await self._log.send([record])
            except BrokerUnavailableError:
                self._refused.add((line, number))
            else:
                assert set(appended.last) == {(self._topic, line)}
                self._acknowledged[line].append(number)

    async def until(self, count: int) -> None:
        """Wait until so many are acknowledged in each line."""
        await eventually(
            lambda: all(len(each) >= count for each in self._acknowledged), within=90, what=f"{count} acknowledged"
        )

    async def stop(self) -> None:
        """Wait for the last answers."""
        self._stopping = True
        await asyncio.gather(*self._lines)
        await self._log.close()

    def judge(self, records: list[Record]) -> None:
        """Hold the log against the answers.

        Raises:
            AssertionError: a record is lost, repeated or out of its order.
        """
        for line, acknowledged in enumerate(self._acknowledged):
            found = [int(record.key or b"0") for record in records if record.partition == line]
            assert max(Counter(found).values()) == 1, "repeated"
            assert not set(acknowledged) - set(found), "lost"
            assert {number for number in found if (line, number) not in self._refused} == set(acknowledged)
            assert found == sorted(found), "out of order"
