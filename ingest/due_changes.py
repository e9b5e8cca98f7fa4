"""Changing when a waiting task is due, as the API does it: asked of whoever has the task's partition."""

from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from ingest.admission import decode_body
from ingest.control import ControlDesk
from ingest.lookup import Lookup
from ingest.payloads import Payloads
from ingest.violations import invalid
from laneway.ids import random_hex
from schemas import codec
from schemas.due_change import CHANGED_MEANWHILE, DUE_KEY, DueChange, DueSubmission
from schemas.errors import NotWaitingError, UnavailableError
from schemas.settings import Settings
from schemas.status import State, Status
from schemas.task import MAX_DELAY_SECONDS
from schemas.topics import partition_of

_DECODER: Final = msgspec.json.Decoder(DueSubmission)
_TRIES: Final = 3


class DueDesk:
    """Takes down when waiting tasks shall be due.

    Raises:
        AdmissionError: it cannot be done, and why.
    """

    def __init__(self, settings: Settings, control: ControlDesk, lookup: Lookup, payloads: Payloads) -> None:
        self._partitions = settings.kafka.partitions
        self._control = control
        self._lookup = lookup
        self._payloads = payloads

    async def change(self, task_id: str, body: bytes) -> tuple[Status, bool]:
        """Change when a task is due.

        Delivery: with True it is done: the task starts at the new time, once, whatever happens. With False no worker
            has answered yet: once one has the task's partition, it does it, unless the task was due by then.

        Returns:
            The task's status, and whether it is done.
        """
        asked = submission_of(body)
        status = codec.decode(await self._lookup.find(task_id), Status)
        for _ in range(_TRIES):
            change = await self._change_of(status, asked)

            def meant(found: DueChange, name: str = change.name) -> bool:
                return found.answered and found.name == name

            answer = await self._control.ask(
                "due_change",
                partition_of(status.ordering_key or status.id, self._partitions),
                DUE_KEY + status.id,
                codec.encode(change),
                DueChange,
                meant,
            )
            if answer is None:
                return status, False
            status = await self._control.strongly(status.id)
            if answer.refused is None:
                return status, True
            if answer.refused != CHANGED_MEANWHILE:
                raise NotWaitingError(f"the task cannot be due at another time: {answer.refused}", state=status.state)
        raise UnavailableError("others change when this task is due at the same time; ask again")

    async def _change_of(self, status: Status, asked: DueSubmission) -> DueChange:
        if status.state not in (State.SCHEDULED, State.RETRYING) or status.not_before is None:
            raise NotWaitingError(f"the task is {status.state}; only one that waits for its time can be due at another")
        if status.state is State.RETRYING and status.ordering_key is not None:
            raise NotWaitingError(
                "a task with an ordering key keeps its turn while it waits for its retry; that time cannot be changed"
            )
        record = await self._payloads.record(status)
        if record is None:
            raise UnavailableError("the task's record was not found in the log, and without it nothing is changed")
        now = datetime.now(UTC)
        due = _due(asked, now)
        if record.task.expires_at is not None and due >= record.task.expires_at:
            raise invalid("/run_at" if asked.run_at else "/delay", f"the task expires at {record.task.expires_at}")
        return DueChange(
            name=random_hex(8),
            status=msgspec.structs.replace(status, updated_at=now, not_before=due, deferrals=status.deferrals + 1),
            was_due=status.not_before,
            task=msgspec.Raw(record.value),
            traceparent=record.traceparent.decode("ascii", "replace") if record.traceparent else None,
        )


def submission_of(body: bytes) -> DueSubmission:
    """The time that a body asks for.

    Raises:
        AdmissionError: it asks for none.
    """
    asked = decode_body(_DECODER, body)
    if (asked.run_at is None) == (asked.delay is None):
        raise invalid("/delay", "give delay or run_at, and not both")
    _due(asked, datetime.now(UTC))
    return asked


def _due(asked: DueSubmission, now: datetime) -> datetime:
    if asked.run_at is None:
        return now + timedelta(seconds=asked.delay or 0)
    due = max(now, asked.run_at.astimezone(UTC))
    if due - now > timedelta(seconds=MAX_DELAY_SECONDS):
        raise invalid("/run_at", f"further away than {MAX_DELAY_SECONDS // 86_400} days")
    return due
