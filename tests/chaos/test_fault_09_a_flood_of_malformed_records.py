"""2,000 malformed records in a lane: all are set aside with their bytes and where from, and the worker never stops."""

import time
from collections import Counter
from pathlib import Path

from schemas.task import Lane, Priority
from tests.support.chaos.cluster import StruckCluster
from tests.support.chaos.handlers import WORK
from tests.support.chaos.observer import source_of
from tests.support.chaos.trial import running_trial
from tests.support.kafka import produce_raw
from tests.support.waiting import eventually

RECORDS = 2_000
RATE = 200.0


async def test_each_is_set_aside_and_the_worker_never_stops(one_broker: StruckCluster, tmp_path: Path) -> None:
    with running_trial(one_broker, tmp_path / "trial", partitions=1) as trial:
        worker = await trial.worker()
        children = worker.tree()
        lane = trial.topics.lane(Lane(WORK, Priority.NORMAL))
        servers = one_broker.direct_servers
        wrong = [b'{"id":', b"\xff\xfe\x00", b"[]", b'{"id": 7, "type": "chaos.work", "payload": 1}', None, b"", b"{}"]
        values = [wrong[number % len(wrong)] for number in range(RECORDS - 22)]
        large = [b"x" * 900_000] * 2
        before = trial.submit(20)
        began = time.monotonic()
        positions = produce_raw(servers, lane, values) + produce_raw(servers, lane, large)
        good = f'{{"id":"bad-headers","type":"{WORK}","payload":{{}}}}'.encode()
        positions += produce_raw(servers, lane, [good] * 20, headers=[("laneway-attempt", b"many")])
        after = trial.submit(20)
        seen = trial.observer.seen
        await eventually(lambda: len(seen.dead_letters) >= RECORDS, within=40, what=f"{RECORDS} dead letters")
        rate = RECORDS / (time.monotonic() - began)
        trial.faults.fired("malformed_records")
        await trial.all_finished(within=20)
        assert {source_of(letter) for letter in seen.dead_letters} == {(lane, 0, position) for position in positions}
        assert Counter(letter.value for letter in seen.dead_letters) == Counter([*values, *large, *[good] * 20])
        assert rate > RATE, f"{rate:.0f} a second"
        assert worker.tree() == children, "a process was started again"
        (await trial.verdict()).require_clean()
        assert {len(trial.started(task_id)) for task_id in before + after} == {1}
