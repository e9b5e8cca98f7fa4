"""What a lane's consumer knows of its place in the group: under which name, and when it was certainly heard."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import uvloop
from aiokafka.errors import NoError, RebalanceInProgressError
from aiokafka.protocol.group import HeartbeatRequest, SyncGroupRequest
from faust.transport.drivers import aiokafka as driver

_LEAVES_WITHIN: Final = 5.0
PROOFS_OF_LIFE: Final[dict[type, tuple[int, ...]]] = {
    HeartbeatRequest: (NoError.errno, RebalanceInProgressError.errno),
    SyncGroupRequest: (NoError.errno,),
}
"""What renews a member's lease, and the answers that say so; one told of a rebalance is kept until that is over."""


class MemberThread(driver.AIOKafkaConsumerThread):
    """Faust's consumer thread, which also notes when the group last heard of it."""

    heard_at: float = 0.0
    """When that was sent which the group has answered, on the monotonic clock: not when the answer was looked at, which
    may have lain here through a freeze, and through the end of the lease."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, thread_loop=uvloop.new_event_loop(), **kwargs)  # less of its time holds the others up
        self._close_thread_loop_on_stop = True

    async def on_start(self) -> None:
        """Start, and listen to what is said to the group."""
        await super().on_start()
        coordinator: Any = self._ensure_consumer()._coordinator  # noqa: SLF001  (aiokafka tells nobody when it was heard)
        coordinator._send_req = self.noted(coordinator._send_req)  # noqa: SLF001

    def noted(self, send: Callable[[Any], Awaitable[Any]]) -> Callable[[Any], Awaitable[Any]]:
        """The same call to the group's coordinator, which also notes what proves that the group knows us."""

        async def sent(request: Any) -> Any:
            sent_at = time.monotonic()
            answer = await send(request)
            heard = PROOFS_OF_LIFE.get(type(request))
            if heard is not None and answer.error_code in heard:
                self.heard_at = sent_at
            return answer

        return sent

    async def on_thread_stop(self) -> None:
        """Leave the group and let go of the broker; within bounds, though it does not answer.

        aiokafka passes on the cancellation of a fetch of its own that waits for a broker that is away.
        """
        stopping = asyncio.ensure_future(super().on_thread_stop())
        await asyncio.wait([stopping], timeout=_LEAVES_WITHIN)
        if not stopping.done():
            stopping.cancel()
            await asyncio.wait([stopping])
        if stopping.cancelled():
            await self._ensure_consumer()._client.close()  # noqa: SLF001  (it did not come to that itself)
        else:
            stopping.result()

    def may_keep_fetches_waiting(self, seconds: float) -> None:
        """How long brokers may hold an answer to a fetch when there is nothing for it. From any thread.

        aiokafka has one fetch under way to each broker: a partition whose records still lay here when it was sent
        waits for its end.
        """
        fetcher: Any = self._ensure_consumer()._fetcher  # noqa: SLF001  (Faust fixes it at 1.5 s)
        fetcher._fetch_max_wait_ms = round(seconds * 1000)  # noqa: SLF001

    @property
    def member_id(self) -> str:
        """How the group calls this consumer; empty when it knows none of the name. From any thread."""
        coordinator: Any = self._consumer._coordinator if self._consumer is not None else None  # noqa: SLF001
        return str(coordinator.member_id) if coordinator is not None else ""
