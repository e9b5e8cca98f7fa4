"""A task that always fails ends in its dead-letter topic, byte for byte as it was accepted."""

from pathlib import Path

import msgspec

from schemas.settings import Settings
from schemas.status import State
from schemas.task import Lane, Priority
from schemas.topics import Topics
from tests.support.kafka import produce_raw, read_all
from tests.support.workers import outcomes, running_worker


async def test_the_bytes_are_untouched(settings: Settings, tmp_path: Path) -> None:
    topics = Topics(settings.kafka.topic_prefix)
    lane = topics.lane(Lane("test.failing", Priority.HIGH))
    # Spaces, an unknown field and the order of fields: a copy that was decoded and encoded again would lose them.
    original = b'{ "type":"test.failing", "newer": [1,  2], "id":"t-1", "priority":"high", "payload": {"a":  1} }'
    with running_worker(settings, tmp_path / "worker.log", "test.failing") as worker:
        await worker.ready()
        (offset,) = produce_raw(
            settings.bootstrap_servers,
            lane,
            [original],
            key=b"t-1",
            partition=2,
            headers=[("traceparent", b"00-1-2-01")],
        )
        outcome = (await outcomes(settings, "test.failing", 1))["t-1"]
    assert (outcome.state, outcome.attempt) == (State.DEAD_LETTERED, 3)
    (letter,) = read_all(settings.bootstrap_servers, topics.dead_letters("test.failing"))
    assert letter.value == original
    assert letter.key == b"t-1"
    assert letter.header("traceparent") == b"00-1-2-01"
    assert letter.header("laneway-dlq-reason") == b"exhausted"
    assert letter.header("laneway-attempt") == b"3"
    source = letter.header("laneway-dlq-source")
    assert source is not None
    assert source.decode().startswith(f"{lane}-2@")
    assert source.decode() != f"{lane}-2@{offset}"  # the last run's own record
    errors = msgspec.json.decode(letter.header("laneway-errors") or b"")
    assert [error["attempt"] for error in errors] == [1, 2, 3]
