"""Recording who asked for what, in the log."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import msgspec
import structlog
from fastapi import Request

from ingest.admission import SOURCE
from laneway.ids import new_id
from laneway.kafka.latest import latest_values
from laneway.kafka.log import Log
from laneway.kafka.wire import encoded_record
from schemas import codec
from schemas.audit import AuditRecord
from schemas.errors import BrokerUnavailableError, LanewayError, UnavailableError, UndecodableRecordError
from schemas.headers import cloud_event, timestamp
from schemas.settings import Settings
from schemas.topics import Topics, partition_of

log = structlog.get_logger(__name__)

_MOST: Final = 200
"""Characters of a name that is recorded."""


def who(request: Request, settings: Settings) -> str:
    """Whom to name for a request: the user that a proxy names, else the client's address."""
    header = settings.api.user_header
    named = request.headers.get(header) if header is not None else None
    if named:
        return named[:_MOST]
    return request.client.host if request.client is not None else "unknown"


@dataclass
class Outcome:
    """What came of an action; whoever carries it out fills it in."""

    said: str = "done"
    count: int | None = None


class Audit:
    """Appends audit records.

    Delivery: the first record of an action is on every in-sync replica before the action begins; if it cannot be, the
        action is not carried out.
    """

    def __init__(self, settings: Settings, log_: Log) -> None:
        self._settings = settings
        self._topic = Topics(settings.kafka.topic_prefix).audit
        self._partitions = settings.kafka.partitions
        self._log = log_

    async def latest(self, most: int) -> list[AuditRecord]:
        """The newest actions, the newest first, each as far as it has come.

        Raises:
            UnavailableError: the log cannot be read now.
        """
        try:
            # Two records for each action, and the newest may all lie in one partition.
            values = await asyncio.to_thread(latest_values, self._settings, self._topic, 2 * most)
        except BrokerUnavailableError as error:
            raise UnavailableError(str(error)) from error
        found: dict[str, AuditRecord] = {}
        for value in values:
            try:
                record = codec.decode(value, AuditRecord)
            except UndecodableRecordError as error:
                log.warning("unreadable record of an action skipped", said=str(error))
                continue
            if record.outcome is not None or record.id not in found:
                found[record.id] = record
        return sorted(found.values(), key=lambda record: record.id, reverse=True)[:most]

    def by_api(
        self, request: Request, action: str, target: str, **details: str
    ) -> AbstractAsyncContextManager[Outcome]:
        """Carry out the block as an action of whoever sent a request to the API; see ``recorded``."""
        agent = request.headers.get("user-agent", "")[:_MOST]
        by = who(request, self._settings)
        return self.recorded(by, action, target[: 5 * _MOST], **details, via="api", agent=agent)

    @asynccontextmanager
    async def recorded(self, by: str, action: str, target: str, **details: str) -> AsyncIterator[Outcome]:
        """Carry out the block as an action that the log knows of, before and after.

        Raises:
            BrokerUnavailableError: the log does not take the record, so the block did not run; or its end.
        """
        began = AuditRecord(id=new_id(), at=datetime.now(UTC), by=by, action=action, target=target, details=details)
        await self._append(began)
        outcome = Outcome()
        try:
            yield outcome
        except LanewayError as error:
            await self._append(msgspec.structs.replace(began, at=datetime.now(UTC), outcome=f"refused: {error}"[:1000]))
            raise
        await self._append(
            msgspec.structs.replace(began, at=datetime.now(UTC), outcome=outcome.said, count=outcome.count)
        )
        log.info("action of an operator", action=action, target=target, by=began.by, said=outcome.said)

    async def _append(self, record: AuditRecord) -> None:
        step = f"{record.id}.{'asked' if record.outcome is None else 'done'}"
        headers = cloud_event("audit", step, SOURCE, timestamp(record.at))
        number = partition_of(record.id, self._partitions)
        await self._log.send(
            [encoded_record(self._topic, number, record.id.encode(), codec.encode(record), headers)], urgent=True
        )
