"""The status view is killed in a write, truncated or deleted: it is built again, and tells what the log tells."""

import asyncio
import json
from pathlib import Path
from random import Random
from typing import Literal

import httpx
import pytest

from tests.chaos.load import Load
from tests.support.chaos.cluster import StruckCluster
from tests.support.chaos.trial import running_trial
from tests.support.waiting import eventually

How = Literal["killed", "truncated", "deleted"]


@pytest.mark.long
@pytest.mark.parametrize("how", ["killed", "truncated", "deleted"])
async def test_it_tells_what_the_log_tells(one_broker: StruckCluster, tmp_path: Path, how: How) -> None:
    with running_trial(one_broker, tmp_path / "trial", with_api=True) as trial:
        api, _ = await trial.api(), await trial.worker()
        load = Load(trial, api.address, Random(20), rate=40, keys=0)
        producing = asyncio.create_task(load.run())
        await asyncio.sleep(4)
        if how == "killed":
            for _ in range(5):
                await asyncio.sleep(0.5)
                await eventually(lambda: api.children("ingest.view"), within=10)
                api.kill_child("ingest.view")
            load.stop()
            await producing
        else:
            load.stop()
            await producing
            await asyncio.to_thread(api.stop)
            files = list((trial.settings.data_dir / "view").glob("status.db*"))
            assert files
            for path in files:
                path.unlink() if how == "deleted" else path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
            trial.faults.fired(f"view_{how}")
            api = await trial.api()
        await trial.all_finished(within=60)
        await api.ready()
        (await trial.verdict()).require_clean()
        async with httpx.AsyncClient(base_url=api.address, timeout=20) as client:
            for task_id in trial.accepted.by_id:
                document = json.loads((await client.get(f"/api/tasks/{task_id}")).text)
                last = trial.observer.seen.statuses[task_id][-1]
                assert (document["state"], document["attempt"]) == (last.state, last.attempt), document
