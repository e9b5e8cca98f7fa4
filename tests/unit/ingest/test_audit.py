"""Nothing is done that is not recorded, and what came of it is recorded, too."""

from typing import cast

import pytest
from fastapi import Request

from ingest.audit import Audit
from ingest.routes.replays import selection_in
from ingest.routes.schedules import name_in
from laneway.kafka.log import Log
from laneway.kafka.wire import EncodedRecord, read_body
from schemas.audit import AuditRecord
from schemas.codec import decode
from schemas.errors import BrokerUnavailableError, TaskNotFoundError
from schemas.settings import ApiSettings, KafkaSettings, Settings


class Recorded:
    """A log that keeps what it is sent, as long as it is there."""

    def __init__(self) -> None:
        self.records: list[EncodedRecord] = []
        self.away = False

    async def send(self, records: list[EncodedRecord], *, urgent: bool = False) -> None:
        if self.away:
            raise BrokerUnavailableError("not acknowledged")
        self.records += records


@pytest.fixture
def log() -> Recorded:
    return Recorded()


@pytest.fixture
def audit(log: Recorded) -> Audit:
    return Audit(Settings(kafka=KafkaSettings(bootstrap_servers="127.0.0.1:9")), cast(Log, log))


def told(log: Recorded) -> list[AuditRecord]:
    return [decode(read_body(record.body)[1], AuditRecord) for record in log.records]


async def test_an_action_is_recorded_before_and_after(audit: Audit, log: Recorded) -> None:
    async with audit.recorded("ada", "lane.pause", "email.high", reason="why not") as outcome:
        (asked,) = told(log)
        outcome.said, outcome.count = "paused", 3
    done = told(log)[1]
    assert (asked.by, asked.action, asked.target, asked.details) == (
        "ada",
        "lane.pause",
        "email.high",
        {"reason": "why not"},
    )
    assert (asked.outcome, done.outcome, done.count) == (None, "paused", 3)
    assert asked.id == done.id
    assert {record.topic for record in log.records} == {"laneway.audit"}
    assert log.records[0].partition == log.records[1].partition


async def test_what_cannot_be_recorded_is_not_done(audit: Audit, log: Recorded) -> None:
    log.away = True
    did = False
    with pytest.raises(BrokerUnavailableError):
        async with audit.recorded("ada", "task.cancel", "a"):
            did = True
    assert not did


async def test_a_refusal_is_recorded(audit: Audit, log: Recorded) -> None:
    with pytest.raises(TaskNotFoundError):
        async with audit.recorded("ada", "task.cancel", "a"):
            raise TaskNotFoundError("no such task")
    assert told(log)[1].outcome == "refused: no such task"


def request(headers: dict[str, str]) -> Request:
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "headers": raw, "client": ("10.0.0.7", 4321), "path": "/", "query_string": b""})


async def test_who_asked_the_api_is_the_user_that_a_proxy_names_or_else_an_address(log: Recorded) -> None:
    cluster = KafkaSettings(bootstrap_servers="127.0.0.1:9")
    for settings, by in (
        (Settings(kafka=cluster), "10.0.0.7"),
        (Settings(kafka=cluster, api=ApiSettings(user_header="X-Forwarded-User")), "ada@example.org"),
    ):
        audit = Audit(settings, cast(Log, log))
        asked = request({"x-forwarded-user": "ada@example.org", "user-agent": "curl/8"})
        async with audit.by_api(asked, "task.cancel", "x" * 5_000):
            pass
        record = told(log)[-1]
        assert (record.by, record.details) == (by, {"via": "api", "agent": "curl/8"})
        assert len(record.target) == 1_000


@pytest.mark.parametrize(
    "body", [b"", b"\xff", b"[1]", b"7", b'{"name":', b'{"name":' + b"[" * 100_000, b"[" * 100_000]
)
def test_a_body_that_cannot_be_read_is_recorded_as_that_and_judged_elsewhere(body: bytes) -> None:
    assert name_in(body) == "unreadable"
    assert selection_in(body) == "unreadable"
