"""Looks at what was told of tasks: each tells all that decides, and reads only what is new since the last."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from schemas import codec
from schemas.settings import Settings
from schemas.status import State, Status
from schemas.task import Lane, Priority
from schemas.topics import Topics
from streams import markers
from streams.markers import MarkerReader, News, Question
from tests.support.kafka import apply_topics, produce_raw, read_all
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


def look(reader: MarkerReader, *ids: str, since: datetime | None = None) -> dict[str, State]:
    since = since or datetime.now(UTC) - timedelta(seconds=30)
    return told(reader.follow(LANE, {0: Question(0, frozenset(), since, frozenset(ids))})[0])


def told(news: News) -> dict[str, State]:
    return {task_id: each.state for task_id, each in news.moved_on.items()}


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
    tell(settings, status("b", State.SUCCEEDED))
    _, second = read_all(settings.bootstrap_servers, Topics(settings.kafka.topic_prefix).status)
    written_at = datetime.fromtimestamp(second.timestamp_ms / 1000, UTC)
    assert look(reader, "a", "b", since=written_at + timedelta(seconds=10)) == {"b": State.SUCCEEDED}
    assert look(reader, "a", "b") == {"a": State.SUCCEEDED, "b": State.SUCCEEDED}


def test_what_is_not_understood_hides_nothing(settings: Settings, reader: MarkerReader) -> None:
    topic = Topics(settings.kafka.topic_prefix).status
    produce_raw(settings.bootstrap_servers, topic, [b"{", b'{"state": 1}', b'{"state": "\xff"}'], key=b"a", partition=0)
    tell(settings, status("a", State.SUCCEEDED))
    assert look(reader, "a") == {"a": State.SUCCEEDED}


def test_what_was_forgotten_is_read_again(settings: Settings, reader: MarkerReader) -> None:
    tell(settings, status("a", State.SUCCEEDED))
    assert look(reader, "b") == {}
    assert look(reader, "b") == {}
    assert reader.steps == 1
    reader.forget()
    assert look(reader, "a") == {"a": State.SUCCEEDED}
    assert reader.steps == 3


def test_more_than_can_be_remembered_hides_nothing(
    settings: Settings, reader: MarkerReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(markers, "_MOST_IN_WINDOWS", 2)
    tell(settings, *(status(task_id, State.SUCCEEDED) for task_id in "abcd"))
    assert look(reader, "a", "d", "e") == {"a": State.SUCCEEDED, "d": State.SUCCEEDED}
    assert look(reader, "b", "e") == {"b": State.SUCCEEDED}


def test_a_look_at_what_is_doubtful_passes_over_nothing_of_what_is_claimed(
    settings: Settings, reader: MarkerReader
) -> None:
    tell(settings, status("claimed", State.RUNNING), status("doubtful", State.SUCCEEDED))
    (first,) = reader.follow(LANE, {0: Question(0, frozenset({"claimed"}))}).values()
    tell(settings, status("claimed", State.SUCCEEDED))
    since = datetime.now(UTC) - timedelta(seconds=30)
    (second,) = reader.follow(LANE, {0: Question(0, frozenset(), since, frozenset({"doubtful"}))}).values()
    assert told(second) == {"doubtful": State.SUCCEEDED}
    question = Question(first.read_until, frozenset({"claimed"}), since, frozenset({"doubtful"}))
    (third,) = reader.follow(LANE, {0: question}).values()
    assert told(third) == {"claimed": State.SUCCEEDED, "doubtful": State.SUCCEEDED}


def test_what_was_claimed_is_followed_from_where_it_was_last_read(settings: Settings, reader: MarkerReader) -> None:
    tell(settings, status("a", State.RUNNING), status("b", State.RUNNING))
    (first,) = reader.follow(LANE, {0: Question(0, frozenset({"a", "b"}))}).values()
    assert told(first) == {"a": State.RUNNING, "b": State.RUNNING}
    tell(settings, status("b", State.SUCCEEDED))
    read = reader.steps
    (second,) = reader.follow(LANE, {0: Question(first.read_until, frozenset({"a", "b"}))}).values()
    assert (told(second), reader.steps - read) == ({"b": State.SUCCEEDED}, 1)
