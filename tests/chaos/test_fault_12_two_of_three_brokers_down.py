"""With two of three brokers down nothing is promised: 503 with Retry-After; once they are back all goes on in 30 s."""

import asyncio
from pathlib import Path

import httpx

from tests.support.chaos.cluster import StruckCluster
from tests.support.chaos.handlers import WORK
from tests.support.chaos.trial import Trial, running_trial
from tests.support.waiting import eventually

ASKED = 2
RECOVERED_WITHIN = 30.0


async def test_no_false_promise_and_a_recovery(three_brokers: StruckCluster, tmp_path: Path) -> None:
    with running_trial(three_brokers, tmp_path / "trial", with_api=True) as trial:
        api, worker = await trial.api(), await trial.worker()
        async with httpx.AsyncClient(base_url=api.address, timeout=20) as client:
            assert (await _ask(trial, client)).status_code == httpx.codes.ACCEPTED
            await trial.all_finished(within=30)
            killed = three_brokers.killed(trial.faults, 2, 3)
            await asyncio.to_thread(killed.__enter__)
            try:
                for _ in range(ASKED):
                    answer = await _ask(trial, client)
                    assert answer.status_code == httpx.codes.SERVICE_UNAVAILABLE, answer.text
                    assert int(answer.headers["retry-after"]) >= 1
            finally:
                await asyncio.to_thread(killed.__exit__, None, None, None)

            async def accepted() -> bool:
                return (await _ask(trial, client)).status_code == httpx.codes.ACCEPTED

            await eventually(accepted, within=RECOVERED_WITHIN, what="a promise after the recovery")
        await trial.all_finished(within=RECOVERED_WITHIN)
        assert worker.running
        (await trial.verdict()).require_clean()


async def _ask(trial: Trial, client: httpx.AsyncClient) -> httpx.Response:
    submission = trial.accepted.asked()
    answer = await client.post("/api/tasks", json={"type": WORK, "payload": trial.payload(submission)})
    if answer.status_code == httpx.codes.ACCEPTED:
        trial.accepted.promised(submission, answer.json()["id"])
    return answer
