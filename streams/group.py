"""What the group of a lane knows, asked of its coordinator over aiokafka's own connection.

librdkafka's admin client ends the process when the coordinator goes away while it is asked (librdkafka #4605), and
aiokafka's own ``fetch_committed_offsets`` takes a coordinator that is still loading for one that knows of no commit: it
overlooks the error of the answer as a whole, which there is since version 2 of the request.
"""

import asyncio
from collections.abc import Callable, Collection, Coroutine
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.errors import (
    GroupCoordinatorNotAvailableError,
    KafkaError,
    NotCoordinatorForGroupError,
    for_code,
)
from aiokafka.protocol.admin import DescribeGroupsRequest
from aiokafka.protocol.commit import OffsetFetchRequest
from aiokafka.structs import OffsetAndMetadata
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread

from schemas.errors import BrokerUnavailableError
from schemas.task import Lane

_ASK_AGAIN_AFTER: Final = 0.1
_TOLD_WITHIN: Final = 15.0
_NOTHING: Final = -1

T = TypeVar("T")
P = ParamSpec("P")


def client_suffix(lane: Lane) -> str:
    """What follows a worker's name in the client id of its consumer of a lane."""
    return f"-{lane}"


async def asked(
    thread: AIOKafkaConsumerThread,
    question: Callable[Concatenate[GroupCoordinator, P], Coroutine[Any, Any, T]],
    *args: P.args,
    **kwargs: P.kwargs,
) -> T:
    """The answer to one of the questions below, put on the loop of a consumer's thread.

    Raises:
        KafkaError: the coordinator refuses for good.
        BrokerUnavailableError: no answer in time.
    """
    coordinator: Any = thread._ensure_consumer()._coordinator  # noqa: SLF001  (nothing public asks it)
    answer = asyncio.run_coroutine_threadsafe(question(coordinator, *args, **kwargs), thread.thread_loop)
    try:
        return await asyncio.wait_for(asyncio.wrap_future(answer), _TOLD_WITHIN)
    except TimeoutError:
        raise BrokerUnavailableError(f"the coordinator of {coordinator.group_id} does not answer") from None


async def commits(coordinator: GroupCoordinator, topic: str, numbers: Collection[int]) -> dict[int, OffsetAndMetadata]:
    """What was last committed of these partitions, by whomever; nothing for one that nobody committed.

    Goes on asking while the coordinator is away or loads. On the loop of the consumer that ``coordinator`` belongs to.

    Raises:
        KafkaError: it refuses for good.
    """
    wanted = set(numbers)
    if not wanted:
        return {}

    def read(answer: Any) -> dict[int, OffsetAndMetadata]:
        _check(getattr(answer, "error_code", 0))
        told: dict[int, OffsetAndMetadata] = {}
        for of_topic, partitions in answer.topics:
            for number, offset, metadata, error_code in partitions:
                _check(error_code)
                if of_topic == topic:
                    told[number] = OffsetAndMetadata(offset, metadata)
        if not wanted <= told.keys():
            raise GroupCoordinatorNotAvailableError(f"nothing said of {sorted(wanted - told.keys())}")
        return {number: told[number] for number in wanted if told[number].offset != _NOTHING}

    return await _answer(coordinator, OffsetFetchRequest(coordinator.group_id, [(topic, sorted(wanted))]), read)


async def members(coordinator: GroupCoordinator) -> dict[str, str]:
    """The group's members: the client id of each, by its id as a member.

    Goes on asking, and belongs, as ``commits``.

    Raises:
        KafkaError: it refuses for good.
    """

    def read(answer: Any) -> dict[str, str]:
        found: dict[str, str] = {}
        for error_code, _group, _state, _type, _protocol, present, *_ in answer.groups:
            _check(error_code)
            found.update((member_id, client_id) for member_id, client_id, *_ in present)
        if not found:
            raise GroupCoordinatorNotAvailableError("the group has no members, of which the asker is one")
        return found

    return await _answer(coordinator, DescribeGroupsRequest([coordinator.group_id]), read)


async def _answer(coordinator: Any, request: object, read: Callable[[Any], T]) -> T:
    while True:
        await coordinator.ensure_coordinator_known()
        try:
            return read(await coordinator._send_req(request))  # noqa: SLF001  (aiokafka offers no other way)
        except KafkaError as error:
            if isinstance(error, NotCoordinatorForGroupError | GroupCoordinatorNotAvailableError):
                coordinator.coordinator_dead()
            if not error.retriable:
                raise
        await asyncio.sleep(_ASK_AGAIN_AFTER)


def _check(error_code: int) -> None:
    if error_code:
        error: type[KafkaError] = for_code(error_code)
        raise error
