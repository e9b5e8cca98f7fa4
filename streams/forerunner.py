"""Members that a dead worker process left behind in their groups, taken out by the process that follows it.

A group waits for a member that is killed until its session has timed out, and nobody can join it meanwhile. Who follows
a process under its name knows better: the name's lock was held until that process had ended.
"""

import asyncio
import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import structlog
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import UnknownMemberIdError, for_code
from aiokafka.protocol.group import LeaveGroupRequest

from laneway.machine import boot_id, open_file
from schemas.settings import Settings

log = structlog.get_logger(__name__)

_TRY_AGAIN_AFTER: Final = 0.1
_ANSWERS_WITHIN_MS: Final = 5_000


class Member(NamedTuple):
    """A member of a group, as the group calls it."""

    group: str
    id: str


class _Noted(msgspec.Struct):
    holder: str
    members: list[Member]


class Memberships:
    """Which members of which groups a worker process is, noted in a file that outlives it.

    Args:
        path: where, beside the lock that its process holds; ``None`` notes nothing.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._holder = _holder(path.with_suffix(".lock")) if path is not None else ""
        self.left_behind = self._read()
        """Members that processes of this name left, as far as they are certainly dead and not known to be out."""
        self._noted = set(self.left_behind)

    def _read(self) -> set[Member]:
        """What the file says, if it was written under the lock that this process holds now.

        A copy of it elsewhere, or a file that was made anew, tells of members that may be alive.
        """
        if self._path is None or not self._holder:
            return set()
        try:
            noted = msgspec.json.decode(self._path.read_bytes(), type=_Noted)
        except (OSError, ValueError, msgspec.DecodeError):
            return set()
        return set(noted.members) if noted.holder == self._holder else set()

    def note(self, present: Mapping[str, str]) -> None:
        """Note the present member ids by group, and whoever is still left behind, where that has changed."""
        if self._path is None or not self._holder:
            return
        members = self.left_behind | {Member(group, member_id) for group, member_id in present.items()}
        if members == self._noted:
            return
        self._noted = members
        unfinished = self._path.with_name(f"{self._path.name}.tmp")
        try:
            unfinished.write_bytes(msgspec.json.encode(_Noted(self._holder, sorted(members))))
            unfinished.replace(self._path)
        except OSError as error:
            log.warning("memberships not noted: a death would cost a session time-out", said=str(error))


def _holder(lock: Path) -> str:
    """Names a lock that this process holds in this start of the machine; empty when it does not, or nobody can tell."""
    boot, file = boot_id(), open_file(lock)
    return f"{boot}/{file}" if boot and file else ""


async def take_out(settings: Settings, memberships: Memberships) -> None:
    """Have members that are dead leave their groups, so that nobody waits for them.

    Tries for as long as their sessions may last; after that they have left by themselves.

    Args:
        settings: of the process.
        memberships: of which ``left_behind`` is emptied.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(settings.worker.session_timeout):
            while memberships.left_behind:
                for member in await _take_out(settings, frozenset(memberships.left_behind)):
                    memberships.left_behind.discard(member)
                if memberships.left_behind:
                    await asyncio.sleep(_TRY_AGAIN_AFTER)
    memberships.left_behind.clear()


async def _take_out(settings: Settings, members: frozenset[Member]) -> list[Member]:
    """Those that are out now."""
    client = AIOKafkaAdminClient(
        bootstrap_servers=settings.bootstrap_servers,
        client_id="laneway-forerunner",
        request_timeout_ms=_ANSWERS_WITHIN_MS,
    )
    try:
        await client.start()
        # All at once, since a coordinator that stands still must hold up its own groups alone.
        answers = await asyncio.gather(*(_leave(client, member) for member in members), return_exceptions=True)
    except Exception as error:  # noqa: BLE001  (aiokafka raises more than its own while it learns who the brokers are)
        log.debug("a forerunner has not left its groups yet", said=str(error) or repr(error))
        return []
    finally:
        await client.close()
    for member, answer in zip(members, answers, strict=True):
        if isinstance(answer, Exception):
            log.debug("a forerunner has not left a group yet", group=member.group, said=str(answer) or repr(answer))
    return [member for member, answer in zip(members, answers, strict=True) if answer is None]


async def _leave(client: AIOKafkaAdminClient, member: Member) -> None:
    coordinator = await client.find_coordinator(member.group)
    request = LeaveGroupRequest(member.group, member.id)
    answer: Any = await client._send_request_to_node(coordinator, request)  # noqa: SLF001  (aiokafka has no other way)
    if not answer.error_code:
        log.info("left a group for the process that ran here before", group=member.group, member=member.id)
        return
    error = for_code(answer.error_code)
    if error.retriable:
        raise error
    if error is not UnknownMemberIdError:
        log.warning("a group does not let a dead member leave", group=member.group, said=str(error()))
