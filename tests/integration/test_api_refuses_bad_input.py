"""Bad input gets a clear problem document and loses nothing."""

from pathlib import Path
from typing import Any

import httpx

from schemas.settings import Settings
from tests.support.api import running_api

CHAT = '{"type": "chat", "payload": {"message": "What is a lane?"}'
REFUSED: list[tuple[str, bytes, int, str]] = [
    ("an unknown type", b'{"type": "emial", "payload": {}}', 404, "did you mean 'email'"),
    ("a wrong payload", b'{"type": "chat", "payload": {"message": 5}}', 422, "/payload/message"),
    ("an unknown field", f'{CHAT}, "prority": "high"}}'.encode(), 422, "/prority"),
    ("a wrong priority", f'{CHAT}, "priority": "urgent"}}'.encode(), 422, "/priority"),
    ("broken JSON", b'{"type":', 400, "not JSON"),
    ("no JSON", b"\x00\xff", 400, "not UTF-8"),
    ("bytes that are no UTF-8", b'{"type": "chat", "payload": {"message": "\xff"}}', 0, ""),
    ("nothing", b"", 400, "not JSON"),
    ("depth", b'{"type": "chat", "payload": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", 0, ""),
    ("20 MB", b"x" * 20_000_000, 413, "8388608"),
]


async def test_every_refusal_is_a_problem_document(settings: Settings, tmp_path: Path) -> None:
    log = tmp_path / "api.log"
    with running_api(settings, log) as api:
        await api.ready()
        async with httpx.AsyncClient(base_url=api.address, timeout=20) as client:
            for name, body, status, said in REFUSED:
                problem = await _refused(client.build_request("POST", "/api/tasks", content=body), client)
                assert problem["status"] in ({status} if status else {400, 422}), name
                assert said in str(problem), name
            for path, status in (
                ("/api/tasks/0190a0a0-0000-4000-8000-000000000000", 404),
                ("/api/tasks/nonsense", 404),
                ("/api/tasks/01900000-0000-7000-8000-000000000000", 410),
                ("/api/files/../../etc/passwd", 404),
                ("/nowhere", 404),
                ("/api/tasks?state=lost", 422),
                ("/result?task_id=nonsense", 404),
            ):
                problem = await _refused(client.build_request("GET", path), client)
                assert problem["status"] in ({status} if status != 422 else {400, 422}), problem
            known = (await client.post("/api/tasks", content=b'{"type": "nope", "payload": {}}')).json()["known"]
            assert known == ["chat", "data", "email", "file"]
            assert (await client.get("/api/tasks")).json()["tasks"] == []
    assert "Traceback" not in log.read_text()


async def _refused(request: httpx.Request, client: httpx.AsyncClient) -> dict[str, Any]:
    answer = await client.send(request)
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    problem: dict[str, Any] = answer.json()
    assert problem["status"] == answer.status_code
    assert {"type", "title", "detail"} <= set(problem)
    assert "Traceback" not in answer.text
    return problem
