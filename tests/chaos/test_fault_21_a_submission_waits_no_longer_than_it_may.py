"""The broker answers late and the view stands still: a submission waits for both together as long as for one."""

import asyncio
import os
import signal
import time
from pathlib import Path

import httpx
import pytest

from ingest.claims import GRACE_SECONDS
from laneway.ids import id_for_key
from tests.support.chaos.cluster import StruckCluster
from tests.support.chaos.handlers import WORK
from tests.support.chaos.trial import Trial, running_trial
from tests.support.kafka import read_all
from tests.support.waiting import eventually

FROZEN = 3.0
MARGIN = 2.0
"""Seconds; one more wait would be the accept time-out again."""


@pytest.mark.long
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

            async def caught_up() -> bool:
                return "laneway_view_lag_records 0.0" in (await client.get("/metrics")).text

            await eventually(caught_up)
            os.kill(materialiser, signal.SIGSTOP)
            try:
                with trial.faults.lasting("materialiser_sigstop"):
                    began = time.monotonic()
                    with one_broker.frozen(trial.faults, 1):
                        asked = asyncio.create_task(client.post("/api/tasks", json=body, headers=headers))
                        await asyncio.sleep(FROZEN)
                    answer = await asked
                    waited = time.monotonic() - began
                    # It gave up only after its claim.
                    assert _claimed(one_broker, trial, id_for_key("once"))
            finally:
                os.kill(materialiser, signal.SIGCONT)
            assert answer.status_code == httpx.codes.SERVICE_UNAVAILABLE, answer.text
            assert answer.json()["type"] == "/problems/unavailable"
            assert waited < allowed + MARGIN, f"{waited:.1f} s, {allowed} allowed"
            # The instance knows that its own request is over: it does not wait for it, as others would.
            began = time.monotonic()
            again = await client.post("/api/tasks", json=body, headers=headers)
            assert again.is_success, again.text
            assert time.monotonic() - began < GRACE_SECONDS
            trial.accepted.promised(submission, again.json()["id"])
        await trial.worker()
        await trial.all_finished(within=30)
        (await trial.verdict()).require_clean()


def _claimed(cluster: StruckCluster, trial: Trial, task_id: str) -> bool:
    records = read_all(cluster.direct_servers, trial.topics.status)
    return any(record.key == task_id.encode() and b'"claim":' in (record.value or b"") for record in records)
