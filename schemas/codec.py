"""Records to and from their bytes: JSON in UTF-8."""

from typing import Final, TypeVar

import msgspec

from schemas.audit import AuditRecord
from schemas.callback import Callback
from schemas.control import Cancellation, LaneControl
from schemas.due_change import DueChange, Withdrawal
from schemas.errors import UndecodableRecordError
from schemas.outcome import Event, Outcome
from schemas.replay import Replay, ReplayAsked, ReplayPlan, ReplayRun
from schemas.schedule import Schedule, ScheduleDone, ScheduleProgress
from schemas.status import Status
from schemas.suspect import Suspect
from schemas.task import Task
from schemas.worker import WorkerReport

Record = TypeVar(
    "Record",
    Task,
    Status,
    Outcome,
    Event,
    LaneControl,
    Cancellation,
    DueChange,
    Withdrawal,
    Schedule,
    ScheduleProgress,
    ScheduleDone,
    Callback,
    Suspect,
    AuditRecord,
    Replay,
    ReplayAsked,
    ReplayPlan,
    ReplayRun,
    WorkerReport,
)

_ENCODER: Final = msgspec.json.Encoder()
_RECORDS: Final = (
    *(Task, Status, Outcome, Event, LaneControl, Cancellation, DueChange, Withdrawal),
    *(Schedule, ScheduleProgress, ScheduleDone, Callback, Suspect, AuditRecord),
    *(Replay, ReplayAsked, ReplayPlan, ReplayRun, WorkerReport),
)
_DECODERS: Final = {record: msgspec.json.Decoder(record) for record in _RECORDS}

encode = _ENCODER.encode
"""Bytes of any record, or of any value that JSON can carry (``TypeError`` for one that it cannot)."""


def decode(data: bytes | None, record: type[Record]) -> Record:
    """The record in ``data``. Fields that this version does not know are ignored.

    Raises:
        UndecodableRecordError: no value, not UTF-8, not JSON, or not this record; says where and why.
    """
    if data is None:
        raise UndecodableRecordError(f"no {record.__name__.lower()}: the record has no value (a tombstone)")
    try:
        # The parser passes over raw parts, so that a payload of other bytes would go on to whoever reads it next.
        data.decode()
        return _DECODERS[record].decode(data)  # type: ignore[return-value]  # the table pairs class and decoder
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UndecodableRecordError(f"no {record.__name__.lower()}: {error}") from error
