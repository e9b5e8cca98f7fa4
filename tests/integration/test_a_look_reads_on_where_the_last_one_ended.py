"""Looks at what was told of records that may be repeated: each tells all, and reads only what is new since the last."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from schemas import codec
from schemas.settings import Settings
from schemas.status import State, Status
from schemas.task import Lane, Priority
from schemas.topics import Topics
from streams.markers import MarkerReader, Question
from tests.support.kafka import apply_topics, produce_raw
from tests.support.views import status

LANE = Lane("test.ledger", Priority.NORMAL)


@pytest.fixture
def reader(settings: Settings) -> Iterator[MarkerReader]:
    apply_topics(settings, [LANE.type])
    made = MarkerReader(settings)
    yield made
    made.close()


def tell(settings: Settings, *statuses: Status) -> None:
    topic = Topics(settings.kafka.topic_prefix).status
    for each in statuses:
        produce_raw(settings.bootstrap_servers, topic, [codec.encode(each)], key=each.id.encode(), partition=0)


def look(reader: MarkerReader, *ids: str, since: timedelta = timedelta(seconds=30)) -> dict[str, State]:
    question = Question(None, datetime.now(UTC) - since, frozenset(ids))
    return {task_id: told.state for task_id, told in reader.follow(LANE, {0: question})[0].moved_on.items()}


def test_each_look_tells_all_and_reads_what_is_new(settings: Settings, reader: MarkerReader) -> None:
    waiting = [status(f"waits-{number}", State.QUEUED) for number in range(20)]
    tell(settings, *waiting, status("a", State.SUCCEEDED))
    assert look(reader, "waits-3", "b") == {}
    read = reader.steps
    assert look(reader, "waits-4", "b") == {}
    assert reader.steps == read
    assert look(reader, "a", "waits-3") == {"a": State.SUCCEEDED}
    tell(settings, status("b", State.RUNNING))
    assert look(reader, "a", "b") == {"a": State.SUCCEEDED, "b": State.RUNNING}
    tell(settings, status("b", State.EXPIRED))
    assert look(reader, "b") == {"b": State.EXPIRED}


def test_an_earlier_time_is_looked_at_too(settings: Settings, reader: MarkerReader) -> None:
    tell(settings, status("a", State.SUCCEEDED))
    assert look(reader, "a", since=timedelta(hours=-1)) == {}
    assert look(reader, "a") == {"a": State.SUCCEEDED}


def test_what_is_not_understood_hides_nothing(settings: Settings, reader: MarkerReader) -> None:
    topic = Topics(settings.kafka.topic_prefix).status
    produce_raw(settings.bootstrap_servers, topic, [b"{", b'{"state": 1}', b'{"state": "\xff"}'], key=b"a", partition=0)
    tell(settings, status("a", State.SUCCEEDED))
    assert look(reader, "a") == {"a": State.SUCCEEDED}


def test_what_was_forgotten_is_read_again(settings: Settings, reader: MarkerReader) -> None:
    tell(settings, status("a", State.SUCCEEDED))
    assert look(reader, "a") == {"a": State.SUCCEEDED}
    reader.forget()
    assert look(reader, "a") == {"a": State.SUCCEEDED}
