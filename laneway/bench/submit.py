"""Tasks submitted by batches over HTTP, as fast as the API takes them."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Final

import httpx
import msgspec

from schemas.errors import BenchmarkError

BATCH: Final = 1000
_AT_ONCE: Final = 4
_TIMEOUT: Final = 120.0


class _Problem(msgspec.Struct):
    detail: str = ""


class _Accepted(msgspec.Struct):
    id: str | None = None
    error: _Problem | None = None


class _Answer(msgspec.Struct):
    tasks: list[_Accepted]


_decode: Final = msgspec.json.Decoder(_Answer).decode


def body_of(type_name: str, priority: str, delay: timedelta | None = None) -> bytes:
    """The body of one task."""
    body = {"type": type_name, "priority": priority, "payload": {"x": 1}}
    return msgspec.json.encode(body if delay is None else {**body, "delay": delay.total_seconds()})


def batch_of(one: bytes, count: int) -> bytes:
    """The body of ``count`` tasks."""
    return b"[" + b",".join([one] * count) + b"]"


def submit(
    url: str,
    type_name: str,
    count: int,
    *,
    priority: str = "normal",
    batch: int = BATCH,
    delay: timedelta | None = None,
) -> list[str]:
    """Submit ``count`` tasks; answers their ids once all are accepted.

    Raises:
        BenchmarkError: one was refused.
    """
    one = body_of(type_name, priority, delay)
    sizes = [min(batch, count - begun) for begun in range(0, count, batch)]
    bodies = {size: batch_of(one, size) for size in set(sizes)}
    with httpx.Client(base_url=url, timeout=_TIMEOUT, trust_env=False) as client:

        def post(size: int) -> list[str]:
            answer = client.post("/api/tasks/batch", content=bodies[size], headers={"Content-Type": "application/json"})
            if answer.status_code == httpx.codes.MULTI_STATUS:
                refused = [each.error for each in _decode(answer.content).tasks if each.error is not None]
                raise BenchmarkError(f"the API refused {len(refused)} of {size} tasks of a batch: {refused[0].detail}")
            if answer.status_code != httpx.codes.ACCEPTED:
                raise BenchmarkError(f"the API answered {answer.status_code} to a batch: {answer.text[:300]}")
            return [accepted.id or "" for accepted in _decode(answer.content).tasks]

        with ThreadPoolExecutor(_AT_ONCE) as threads:
            return [task_id for ids in threads.map(post, sizes) for task_id in ids]


def until_final(url: str, ids: list[str], within: float) -> None:
    """Wait until the API tells each of these tasks as succeeded.

    Raises:
        BenchmarkError: one of them is not, in time.
    """
    with httpx.Client(base_url=url, timeout=within + 30, trust_env=False) as client:
        for task_id in ids:
            answer = client.get(f"/api/tasks/{task_id}", params={"wait": f"{min(within, 60):g}"})
            state = answer.json().get("state") if answer.status_code == httpx.codes.OK else answer.status_code
            if state != "succeeded":
                raise BenchmarkError(f"the API tells task {task_id} as {state} after its outcome was published")
