"""Records are appended and the broker's answer is lost on its way: each is in the log once all the same."""

import asyncio
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from tests.chaos.load import Load
from tests.support.chaos.cluster import StruckCluster
from tests.support.chaos.trial import running_trial
from tests.support.waiting import eventually

CUTS = 12


@pytest.mark.long
async def test_every_record_is_there_once(proxied_brokers: StruckCluster, tmp_path: Path) -> None:
    with running_trial(proxied_brokers, tmp_path / "trial", with_api=True) as trial:
        api, _ = await trial.api(), await trial.worker()
        load = Load(trial, api.address, Random(17), rate=60, keys=0)
        producing = asyncio.create_task(load.run())
        proxy = proxied_brokers.proxies[1]
        for number in range(CUTS):
            await asyncio.sleep(0.7)
            proxy.weather.deaf_after = 100 * number
            await eventually(lambda: proxy.weather.deaf_after is None, within=20, what="an answer that was cut off")
            trial.faults.fired("answer_lost")
        load.stop()
        await producing
        assert proxy.cuts >= CUTS
        assert proxy.dropped > 0
        await trial.all_finished(within=60)
        (await trial.verdict()).require_clean()
        appended = Counter(key for lane in trial.observer.seen.lanes.values() for key in lane.values())
        assert not [key for key, times in appended.items() if times > 1]
