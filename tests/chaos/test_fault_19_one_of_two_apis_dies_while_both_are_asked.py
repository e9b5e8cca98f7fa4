"""One of two APIs dies in each window of a race for one key; who asks the other one, and later both, gets one task."""

import asyncio
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.chaos.cluster import StruckCluster
from tests.support.chaos.handlers import WORK
from tests.support.chaos.processes import StruckApi, crash_mark, with_crash_point
from tests.support.chaos.trial import running_trial

EACH = 20


@pytest.mark.long
@pytest.mark.parametrize("point", ["after_claim", "after_task", "after_accept"])
async def test_what_was_answered_is_one_task(one_broker: StruckCluster, tmp_path: Path, point: str) -> None:
    with running_trial(one_broker, tmp_path / "trial", with_api=True) as trial:
        await trial.worker()
        other = await trial.api(trial.settings.model_copy(update={"data_dir": tmp_path / "other"}))
        submissions, bodies = {}, {}
        for number, delay in enumerate([0.0, 8.0, 0.0, 8.0]):
            key = f"key-{number}"
            submissions[key] = trial.accepted.asked(idempotency_key=key)
            bodies[key] = {"type": WORK, "payload": trial.payload(submissions[key]), "delay": delay}
        told: dict[str, set[str]] = {key: set() for key in bodies}
        died = 0
        for number, (key, body) in enumerate(bodies.items()):
            dying = await trial.api(with_crash_point(trial.settings, point))
            # Alone where it must die in its window; beside the other one it may lose the race and live.
            asked = [dying] if number < len(bodies) // 2 else [dying, other]
            answers = await asyncio.gather(*(_ask(api, key, body) for api in asked for _ in range(EACH)))
            told[key] |= {answer.json()["id"] for answer in answers if answer is not None}
            mark = crash_mark(trial.settings, point)
            if mark.exists():
                dying.process.wait(10)
                mark.unlink()  # so that another one can die there
                trial.faults.fired(f"api_{point}")
                died += 1
            else:
                dying.stop()
        assert died >= len(bodies) // 2, f"the API did not die at {point}"
        again = await trial.api()
        for key, body in bodies.items():
            answers = await asyncio.gather(*(_ask(api, key, body) for api in (again, other) for _ in range(EACH)))
            assert all(answer is not None for answer in answers)
            told[key] |= {answer.json()["id"] for answer in answers if answer is not None}
            differs = await asyncio.gather(*(_ask(api, key, {**body, "priority": "high"}) for api in (again, other)))
            assert [answer and answer.status_code for answer in differs] == [httpx.codes.CONFLICT] * 2
            (task_id,) = told[key]
            trial.accepted.promised(submissions[key], task_id)
        await trial.all_finished(within=60)
        (await trial.verdict()).require_clean()
        assert [len(trial.started(task_id)) for (task_id,) in told.values()] == [1] * len(bodies)


async def _ask(api: StruckApi, key: str, body: dict[str, Any]) -> httpx.Response | None:
    """The answer; ``None`` from one that died. Asks again, as clients do, where a busy machine cannot tell in time."""
    deadline = time.monotonic() + 60
    async with httpx.AsyncClient(base_url=api.address, timeout=60) as client:
        while True:
            try:
                answer = await client.post("/api/tasks", json=body, headers={"Idempotency-Key": key})
            except httpx.TransportError:
                return None
            if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE or time.monotonic() > deadline:
                return answer
