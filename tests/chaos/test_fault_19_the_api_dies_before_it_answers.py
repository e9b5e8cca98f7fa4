"""The API dies between the log and its answer, and the client asks again with its key: one task, run once."""

from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest

from tests.support.chaos.cluster import StruckCluster
from tests.support.chaos.handlers import WORK
from tests.support.chaos.processes import StruckApi, crash_mark, with_crash_point
from tests.support.chaos.trial import running_trial

POINTS = ("after_task", "after_accept")


@pytest.mark.parametrize("point", POINTS)
async def test_one_key_is_one_task(one_broker: StruckCluster, tmp_path: Path, point: str) -> None:
    with running_trial(one_broker, tmp_path / "trial", with_api=True) as trial:
        await trial.worker()
        api = await trial.api(with_crash_point(trial.settings, point))
        submission = trial.accepted.asked(idempotency_key="invoice-7")
        body = {"type": WORK, "payload": trial.payload(submission)}
        with pytest.raises(httpx.TransportError):
            await _ask(api, body)
        api.process.wait(10)
        assert crash_mark(trial.settings, point).exists(), f"the API did not die at {point}"
        trial.faults.fired(f"api_{point}")
        again = await trial.api()
        answers = [await _ask(again, body) for _ in range(3)]
        assert all(answer.status_code in (httpx.codes.OK, httpx.codes.ACCEPTED) for answer in answers)
        (task_id,) = {answer.json()["id"] for answer in answers}
        trial.accepted.promised(submission, task_id)
        await trial.all_finished(within=30)
        (await trial.verdict()).require_clean()
        assert len(trial.started(task_id)) == 1


async def _ask(api: StruckApi, body: Mapping[str, object]) -> httpx.Response:
    async with httpx.AsyncClient(base_url=api.address, timeout=20) as client:
        return await client.post("/api/tasks", json=body, headers={"Idempotency-Key": "invoice-7"})
