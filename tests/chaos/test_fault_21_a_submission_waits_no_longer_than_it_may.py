"""The broker answers late and the view stands still: a submission waits for both together as long as for one."""

import asyncio
import os
import signal
import time
from pathlib import Path

import httpx

from ingest.claims import GRACE_SECONDS
from tests.support.chaos.cluster import StruckCluster
from tests.support.chaos.handlers import WORK
from tests.support.chaos.trial import running_trial

FROZEN = 3.0
MARGIN = 2.0
"""Seconds; one more wait would be the accept time-out again."""


async def test_a_keyed_submission_is_answered_in_time(one_broker: StruckCluster, tmp_path: Path) -> None:
    with running_trial(one_broker, tmp_path / "trial", with_api=True) as trial:
        api = await trial.api()
        allowed = trial.settings.api.accept_timeout
        (materialiser,) = api.children("ingest.view")
        submission = trial.accepted.asked(idempotency_key="once")
        body = {"type": WORK, "payload": trial.payload(submission)}
        headers = {"Idempotency-Key": "once"}
        async with httpx.AsyncClient(base_url=api.address, timeout=60) as client:
            first = trial.accepted.asked(idempotency_key="first")
            warm = {"type": WORK, "payload": trial.payload(first)}
            made = await client.post("/api/tasks", json=warm, headers={"Idempotency-Key": "first"})
            assert made.status_code == httpx.codes.ACCEPTED, made.text
            trial.accepted.promised(first, made.json()["id"])
            os.kill(materialiser, signal.SIGSTOP)
            try:
                with trial.faults.lasting("materialiser_sigstop"):
                    began = time.monotonic()
                    with one_broker.frozen(trial.faults, 1):
                        asked = asyncio.create_task(client.post("/api/tasks", json=body, headers=headers))
                        await asyncio.sleep(FROZEN)
                    answer = await asked
                    waited = time.monotonic() - began
            finally:
                os.kill(materialiser, signal.SIGCONT)
            assert answer.status_code == httpx.codes.SERVICE_UNAVAILABLE, answer.text
            assert answer.json()["type"] == "/problems/unavailable"
            assert waited < allowed + MARGIN, f"{waited:.1f} s, {allowed} allowed"
            # The instance knows that its own request is over: it does not wait for it, as another instance would.
            began = time.monotonic()
            again = await client.post("/api/tasks", json=body, headers=headers)
            assert again.is_success, again.text
            assert time.monotonic() - began < GRACE_SECONDS
            trial.accepted.promised(submission, again.json()["id"])
        await trial.worker()
        await trial.all_finished(within=30)
        (await trial.verdict()).require_clean()
