"""What is asked of the API, and so by the command line, is in the log: who asked, for what, and what came of it."""

import httpx

from laneway.ids import new_id
from schemas.audit import AuditRecord
from schemas.codec import decode
from tests.support.stacks import RunningStack


def recorded(stack: RunningStack, *targets: str) -> list[tuple[str, str, str | None, int | None]]:
    """Actions on these, by id and thus in their order, each asked for and then done."""
    audit = [decode(value, AuditRecord) for value in stack.values("audit")]
    ours = [record for record in audit if record.target in targets]
    assert {(record.by, record.details["via"]) for record in ours} == {("127.0.0.1", "api")}
    asked = {record.id for record in ours if record.outcome is None}
    done = sorted((record for record in ours if record.outcome is not None), key=lambda record: record.id)
    assert asked == {record.id for record in done}, "before it is done, and once it is"
    return [(record.action, record.target, record.outcome, record.count) for record in done]


def test_what_is_done(stack: RunningStack) -> None:
    held = "chat.low"
    with httpx.Client(base_url=stack.url, timeout=30) as http:
        later = {"type": "shop.parcel", "payload": {"grams": 1}, "delay": 3600}
        task_id = http.post("/api/tasks", json=later).raise_for_status().json()["id"]
        stack.run_json("pause", "chat", "low", "--reason", "stocktaking", "--api", stack.url)
        http.delete(f"/api/tasks/{task_id}").raise_for_status()
        http.post("/api/lanes/chat/low/resume").raise_for_status()
    assert recorded(stack, held, task_id) == [
        ("lane.pause", held, "paused", None),
        ("task.cancel", task_id, "before_start", 1),
        ("lane.resume", held, "resumed", None),
    ]


def test_what_is_refused_and_what_selects(stack: RunningStack) -> None:
    with httpx.Client(base_url=stack.url, timeout=30) as http:
        unknown = new_id()
        assert http.delete(f"/api/tasks/{unknown}").status_code == 404
        select = '{"ids":["' + unknown + '"]}'
        body = f'{{"select":{select},"dry_run":true}}'
        made = http.post("/api/replays", content=body).raise_for_status().json()
        assert http.delete(f"/api/replays/{made['id']}").status_code == 202
    cancelled, planned, aborted = recorded(stack, unknown, select, made["id"])
    assert cancelled[0] == "task.cancel"
    assert (cancelled[2] or "").startswith("refused: ")
    assert planned == ("replay.plan", select, made["id"], made["counts"]["selected"])
    assert aborted[:2] == ("replay.abort", made["id"])
