"""What is replayed follows from the record, the status and the payload; what is not is told with the reason."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec import Raw

from ingest.replay.choosing import Past
from ingest.replay.judging import Judge, Judged
from ingest.replay.statuses import Statuses
from ingest.view import schema
from ingest.view.store import StatusRecord, ViewStore
from laneway.registry import registry
from schemas.codec import encode
from schemas.headers import ATTEMPT, DLQ_AT, DLQ_ERROR, timestamp
from schemas.replay import Replay, Selection, Source
from schemas.settings import Settings
from schemas.status import ErrorInfo, State, Status
from schemas.task import Priority, Task
from tests.support import replay_handlers

NOW = datetime.now(UTC)
ERROR = ErrorInfo(type="ValueError", message="Mailbox FULL", retriable=True)
assert replay_handlers.echo is not None


def past(name: str, payload: str = '{"n": 1}', generation: int = 1, headers: Any = (), **fields: Any) -> Past:
    task = Task(
        id=name, type="past.echo", payload=Raw(payload.encode()), generation=generation, created_at=NOW, **fields
    )
    return Past(
        task, encode(task), "laneway.tasks.past.echo.normal", 0, 7, int(NOW.timestamp() * 1000), lambda: headers
    )


def dead(name: str, generation: int = 1, at: datetime = NOW) -> Past:
    return past(name, generation=generation, headers=[(DLQ_ERROR, encode(ERROR)), (DLQ_AT, timestamp(at))])


def status(name: str, state: State, **fields: Any) -> Status:
    return Status(
        id=name,
        type="past.echo",
        priority=Priority.NORMAL,
        state=state,
        attempt=1,
        max_attempts=3,
        created_at=NOW,
        updated_at=NOW,
        **fields,
    )


STATUSES = (
    status("ok", State.SUCCEEDED),
    status("runs", State.RUNNING),
    status("dead", State.DEAD_LETTERED, error=ERROR),
    status("again", State.DEAD_LETTERED, error=ERROR, generation=2, replay_id="other"),
    status("mine", State.QUEUED, generation=2, replay_id="job"),
)


@pytest.fixture
def statuses(tmp_path: Path) -> Iterator[Statuses]:
    settings = Settings(data_dir=tmp_path)
    store = ViewStore(schema.database(tmp_path), "cluster", 4)
    records = [StatusRecord(0, n, each.id.encode(), encode(each)) for n, each in enumerate(STATUSES)]
    store.apply("status", records, {0: len(records)})
    found = Statuses(settings)
    yield found
    found.close()
    store.close()


def judged(statuses: Statuses, select: Selection, *pasts: Past, **fields: Any) -> list[Judged]:
    replay = Replay(id="job", select=select, created_at=NOW, **fields)
    return list(Judge(replay, registry, statuses).judge(pasts))


def why(found: list[Judged]) -> dict[str, str | None]:
    return {each.past.task.id: each.why_not for each in found}


ALL = Selection(types=["past.echo"])


def test_what_has_not_ended_or_is_not_known_is_passed_over(statuses: Statuses) -> None:
    found = judged(statuses, ALL, *map(past, ("ok", "runs", "dead", "again", "mine", "nobody")))
    assert why(found) == {
        "ok": None,
        "runs": "still_running",
        "dead": None,
        "again": None,
        "mine": None,
        "nobody": "unknown",
    }
    assert [each.past.task.id for each in found if each.mine] == ["mine"]
    assert {each.past.task.id: each.generation for each in found}["again"] == 2


def test_a_further_run_of_a_task_is_no_second_task(statuses: Statuses) -> None:
    assert why(judged(statuses, ALL, past("ok", headers=[(ATTEMPT, b"2")]))) == {}
    assert why(judged(statuses, ALL, past("ok", headers=[(ATTEMPT, b"1")]))) == {"ok": None}


def test_a_dead_letter_is_redriven_only_in_its_own_generation(statuses: Statuses) -> None:
    letters = [dead("dead"), dead("again"), dead("again", 2), dead("ok"), dead("runs"), dead("long ago")]
    found = judged(statuses, ALL, *letters, source=Source.DEAD_LETTERS)
    assert [(each.past.task.id, each.past.task.generation, each.why_not) for each in found] == [
        ("dead", 1, None),
        ("again", 1, "superseded"),
        ("again", 2, None),
        ("ok", 1, "superseded"),
        ("runs", 1, "still_running"),
        ("long ago", 1, None),
    ]


@pytest.mark.parametrize(
    ("select", "ids"),
    [
        ({"states": [State.SUCCEEDED]}, {"ok"}),
        ({"error": "valueerror"}, {"dead", "again"}),
        ({"error": "mailbox full"}, {"dead", "again"}),
        ({"error": "Value"}, {"dead", "again"}),
        ({"error": "nothing"}, set()),
        ({"ids": ["ok", "dead"]}, {"ok", "dead"}),
        ({"key": "ok"}, {"ok"}),
        ({"priorities": [Priority.HIGH]}, set()),
        ({"labels": {"tenant": "acme"}}, set()),
        ({"since": NOW + timedelta(seconds=1)}, set()),
        ({"until": NOW}, set()),
        ({"where": "n == `1`"}, {"ok", "dead", "again"}),
        ({"where": "missing"}, set()),
        ({"where": "n"}, {"ok", "dead", "again"}),
    ],
)
def test_each_part_of_a_selection_has_to_hold(statuses: Statuses, select: dict[str, Any], ids: set[str]) -> None:
    found = judged(statuses, Selection(**select), past("ok"), past("dead"), past("again"))
    assert set(why(found)) == ids


def test_time_of_a_dead_letter_is_when_it_was_set_aside(statuses: Statuses) -> None:
    later = NOW + timedelta(hours=1)
    letters = [dead("dead"), dead("long ago", at=later)]
    found = judged(statuses, Selection(since=later), *letters, source=Source.DEAD_LETTERS)
    assert set(why(found)) == {"long ago"}


def test_what_cannot_be_done_to_a_payload_is_told(statuses: Statuses) -> None:
    where = Selection(where="starts_with(n, 'a')")
    assert why(judged(statuses, where, past("ok"))) == {"ok": "where_failed"}
    assert why(judged(statuses, ALL, past("ok"), transform=f"{replay_handlers.__name__}:shouted")) == {
        "ok": "patch_failed"
    }
    (patched,) = judged(statuses, ALL, past("ok"), patch={"n": None, "kind": "x"})
    assert (patched.payload, patched.why_not) == (b'{"kind":"x"}', None)
    assert why(judged(statuses, ALL, past("ok"), patch={"n": "x" * 3_000_000})) == {"ok": "too_large"}
    unknown = Past(Task(id="ok", type="past.gone", payload=Raw(b"{}")), b"{}", "t", 0, 0, 0, list)
    assert why(judged(statuses, Selection(types=["past.gone"]), unknown)) == {"ok": "unknown_type"}
