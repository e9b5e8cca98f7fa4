"""The view's materialiser stands still: whoever was promised a task can read it at once, and never gets a 404."""

import os
import signal
import time
from pathlib import Path

import httpx
import pytest

from tests.support.chaos.cluster import StruckCluster
from tests.support.chaos.handlers import WORK
from tests.support.chaos.trial import running_trial

STILL = 10.0


@pytest.mark.long
async def test_an_accepted_id_is_never_unknown(one_broker: StruckCluster, tmp_path: Path) -> None:
    with running_trial(one_broker, tmp_path / "trial", with_api=True) as trial:
        api, _ = await trial.api(), await trial.worker()
        (materialiser,) = api.children("ingest.view")
        answers: list[int] = []
        os.kill(materialiser, signal.SIGSTOP)
        try:
            with trial.faults.lasting("materialiser_sigstop"):
                async with httpx.AsyncClient(base_url=api.address, timeout=30) as client:
                    until = time.monotonic() + STILL
                    while time.monotonic() < until:
                        submission = trial.accepted.asked()
                        body = {"type": WORK, "payload": trial.payload(submission)}
                        promised = await client.post("/api/tasks", json=body)
                        assert promised.status_code == httpx.codes.ACCEPTED, promised.text
                        trial.accepted.promised(submission, promised.json()["id"])
                        answers.append((await client.get(promised.headers["location"])).status_code)
        finally:
            os.kill(materialiser, signal.SIGCONT)
        assert len(answers) > 10
        assert set(answers) == {httpx.codes.OK}
        await trial.all_finished(within=30)
        (await trial.verdict()).require_clean()
