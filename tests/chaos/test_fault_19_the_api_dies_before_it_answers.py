"""The API dies between the log and its answer, and the client asks again with its key: one task, run once."""

from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest

from ingest.claims import GRACE_SECONDS
from tests.support.chaos.cluster import StruckCluster
from tests.support.chaos.handlers import WORK
from tests.support.chaos.processes import StruckApi, crash_mark, with_crash_point
from tests.support.chaos.trial import running_trial

MOST_REFUSALS = 6
# Where it dies, and whether the client numbers its tries.
DEATHS = (("after_claim", False), ("after_task", False), ("after_accept", False), ("after_accept", True))


async def test_one_key_is_one_task(one_broker: StruckCluster, tmp_path: Path) -> None:
    with running_trial(one_broker, tmp_path / "trial", with_api=True) as trial:
        await trial.worker()
        asked = {}
        for number, (point, numbered) in enumerate(DEATHS):
            key = f"key-{number}"
            submission = trial.accepted.asked(idempotency_key=key)
            asked[key] = submission, {"type": WORK, "payload": trial.payload(submission)}, numbered
            api = await trial.api(with_crash_point(trial.settings, point))
            with pytest.raises(httpx.TransportError):
                await _ask(api, key, asked[key][1], 1 if numbered else None)
            api.process.wait(10)
            mark = crash_mark(trial.settings, point)
            assert mark.exists(), f"the API did not die at {point}"
            mark.unlink()  # so that it can die there again
            trial.faults.fired(f"api_{point}")
        # Its requests end sooner than a dead one's claim is waited for: several of them wait for it together.
        hasty = trial.settings.api.model_copy(update={"accept_timeout": GRACE_SECONDS / 2})
        again = await trial.api(trial.settings.model_copy(update={"api": hasty}))
        task_ids = set()
        for key, (submission, body, numbered) in asked.items():
            answers = [await _taken(again, key, body, tries if numbered else None) for tries in (2, 3, 4)]
            assert all(answer.status_code in (httpx.codes.OK, httpx.codes.ACCEPTED) for answer in answers)
            (task_id,) = {answer.json()["id"] for answer in answers}
            trial.accepted.promised(submission, task_id)
            task_ids.add(task_id)
        await trial.all_finished(within=30)
        (await trial.verdict()).require_clean()
        assert {len(trial.started(task_id)) for task_id in task_ids} == {1}


async def _taken(api: StruckApi, key: str, body: Mapping[str, object], tries: int | None) -> httpx.Response:
    """Asked until the answer is no refusal."""
    refusals = 0
    while True:
        answer = await _ask(api, key, body, tries)
        if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE or refusals == MOST_REFUSALS:
            return answer
        refusals += 1


async def _ask(api: StruckApi, key: str, body: Mapping[str, object], tries: int | None) -> httpx.Response:
    headers = {"Idempotency-Key": key} | ({"Laneway-Try": str(tries)} if tries else {})
    async with httpx.AsyncClient(base_url=api.address, timeout=20) as client:
        return await client.post("/api/tasks", json=body, headers=headers)
