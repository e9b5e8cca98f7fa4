"""Members that a dead worker process left behind in their groups, taken out by the process that follows it.

A group waits for a member that is killed until its session has timed out, and nobody can join it meanwhile. Who follows
a process under its name knows better: the name's lock was held until that process had ended.
"""

import asyncio
import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import structlog
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError, for_code
from aiokafka.protocol.group import LeaveGroupRequest

from laneway.machine import boot_id
from schemas.settings import Settings
from streams.flight import flight_path

log = structlog.get_logger(__name__)

_TRY_AGAIN_AFTER: Final = 0.1
_ANSWERS_WITHIN_MS: Final = 5_000


class _Noted(msgspec.Struct):
    boot: str
    members: dict[str, str]


class Memberships:
    """Which member of which group a worker process is, noted in a file that outlives it.

    Args:
        path: where; ``None`` notes nothing.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._noted: dict[str, str] = {}

    def left_behind(self) -> dict[str, str]:
        """Member ids by group, of the process that had this name before; none of another start of the machine.

        A copy of the file elsewhere tells of members that may be alive.
        """
        if self._path is None:
            return {}
        try:
            noted = msgspec.json.decode(self._path.read_bytes(), type=_Noted)
        except (OSError, ValueError, msgspec.DecodeError):
            return {}
        return noted.members if noted.boot and noted.boot == boot_id() else {}

    def note(self, members: Mapping[str, str]) -> None:
        """Note the present member ids by group, where they have changed."""
        if self._path is None or members == self._noted:
            return
        self._noted = dict(members)
        unfinished = self._path.with_name(f"{self._path.name}.tmp")
        try:
            unfinished.write_bytes(msgspec.json.encode(_Noted(boot_id(), self._noted)))
            unfinished.replace(self._path)
        except OSError as error:
            log.warning("memberships not noted: a death would cost a session time-out", said=str(error))


def memberships_path(settings: Settings) -> Path | None:
    """Where this worker process notes its memberships; ``None`` for one that nobody supervises."""
    path = flight_path(settings)
    return path.with_suffix(".members") if path is not None else None


async def take_out(settings: Settings, members: Mapping[str, str]) -> None:
    """Have members that are dead leave their groups, so that nobody waits for them.

    Tries for as long as their sessions may last; after that they have left by themselves.

    Args:
        settings: of the process.
        members: member ids by group.
    """
    left = dict(members)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(settings.worker.session_timeout):
            while left:
                try:
                    await _take_out(settings, left)
                except (
                    KafkaError,
                    OSError,
                    AssertionError,
                ) as error:  # the last of a coordinator that is not known yet
                    log.debug("a forerunner has not left its groups yet", said=str(error) or repr(error))
                    await asyncio.sleep(_TRY_AGAIN_AFTER)


async def _take_out(settings: Settings, left: dict[str, str]) -> None:
    client = AIOKafkaAdminClient(
        bootstrap_servers=settings.bootstrap_servers,
        client_id="laneway-forerunner",
        request_timeout_ms=_ANSWERS_WITHIN_MS,
    )
    try:
        await client.start()
        for group, member_id in list(left.items()):
            coordinator = await client.find_coordinator(group)
            request = LeaveGroupRequest(group, member_id)
            answer: Any = await client._send_request_to_node(coordinator, request)  # noqa: SLF001  (aiokafka has no other way)
            error = for_code(answer.error_code)
            if error.retriable:
                raise error
            if not answer.error_code:
                log.info("left a group for the process that ran here before", group=group, member=member_id)
            del left[group]
    finally:
        await client.close()
