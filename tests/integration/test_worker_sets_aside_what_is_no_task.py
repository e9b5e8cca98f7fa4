"""A record that is no valid task stops nothing: it goes to the dead letters, in whatever codec it came."""

import os
from pathlib import Path
from typing import get_args

from schemas.settings import Settings
from schemas.task import Lane, Priority
from schemas.topics import Topics
from tests.support.kafka import Codec, Record, produce_raw, read_all
from tests.support.waiting import eventually
from tests.support.workers import outcomes, running_worker, submit

NO_TASKS: list[bytes | None] = [
    os.urandom(300),
    b"",
    None,
    b"[" * 100_000,
    b'{"id": "a", "type": "test.echo"}',
    b'{"id": "a", "type": "test.failing", "payload": {}}',
    b'{"id": 7, "type": "test.echo", "payload": {}}',
    b'"' + b"x" * 5_000 + b'"',
]


async def test_no_task_stops_nothing(settings: Settings, tmp_path: Path) -> None:
    topics = Topics(settings.kafka.topic_prefix)
    lane = topics.lane(Lane("test.echo", Priority.NORMAL))
    codecs = get_args(Codec)
    with running_worker(settings, tmp_path / "worker.log", "test.echo") as worker:
        await worker.ready()
        for codec in codecs:
            produce_raw(settings.bootstrap_servers, lane, NO_TASKS, codec=codec)
            produce_raw(
                settings.bootstrap_servers,
                lane,
                [b'{"id": "b", "type": "test.echo", "payload": {}}'],
                codec=codec,
                headers=[("laneway-attempt", b"many")],
            )
        ids = submit(settings, "test.echo", [{"n": number} for number in range(20)])
        assert set(await outcomes(settings, "test.echo", 20)) == set(ids)

        def set_aside() -> list[Record]:
            found = read_all(settings.bootstrap_servers, topics.dead_letters("test.echo"))
            assert len(found) == (len(NO_TASKS) + 1) * len(codecs)
            return found

        letters = await eventually(set_aside, within=20)
        assert worker.process.poll() is None
    for number in range(len(codecs)):
        those_of_one = letters[number * (len(NO_TASKS) + 1) :][: len(NO_TASKS) + 1]
        assert [letter.value for letter in those_of_one[:-1]] == NO_TASKS
    assert {letter.header("laneway-dlq-reason") for letter in letters} == {b"undecodable"}
    assert [letter.header("laneway-dlq-source") for letter in letters] == [
        f"{lane}-0@{offset}".encode() for offset in range(len(letters))
    ]
