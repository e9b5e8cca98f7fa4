"""A handler that fails twice and then succeeds shows attempt 3 and two errors."""

from pathlib import Path

from schemas import codec
from schemas.settings import Settings
from schemas.status import State, Status
from schemas.topics import Topics
from tests.support.kafka import read_all
from tests.support.workers import outcomes, running_worker, submit


async def test_the_third_attempt_succeeds(settings: Settings, tmp_path: Path) -> None:
    topics = Topics(settings.kafka.topic_prefix)
    with running_worker(settings, tmp_path / "worker.log", "test.flaky") as worker:
        await worker.ready()
        (task_id,) = submit(settings, "test.flaky", [{"ok_at": 3}])
        outcome = (await outcomes(settings, "test.flaky", 1))[task_id]
    assert (outcome.state, outcome.attempt) == (State.SUCCEEDED, 3)
    statuses = [codec.decode(found.value, Status) for found in read_all(settings.bootstrap_servers, topics.status)]
    final = statuses[-1]
    assert final.state is State.SUCCEEDED
    assert [(error.type, error.message, error.attempt) for error in final.errors] == [
        ("ValueError", "not yet: attempt 1", 1),
        ("ValueError", "not yet: attempt 2", 2),
    ]
    waits = [status for status in statuses if status.state is State.RETRYING]
    assert [status.attempt for status in waits] == [1, 2]
    runs = {status.attempt: status.started_at for status in statuses if status.state.final}
    assert waits[1].not_before is not None
    assert runs[3] is not None
    assert runs[3] >= waits[1].not_before  # never early
