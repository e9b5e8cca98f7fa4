"""Of tasks with one ordering key the view knows which has the turn, with an index over the unfinished ones alone."""

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from ingest.view.keys import read_holder
from ingest.view.schema import connect
from schemas.status import State, Status
from schemas.task import Priority
from tests.support.views import NOW, View, status


@pytest.fixture
def view(tmp_path: Path) -> Iterator[View]:
    view = View(tmp_path)
    with closing(view.store):
        yield view


def queued(task_id: str, second: int, state: State = State.QUEUED, **changes: object) -> Status:
    at = NOW + timedelta(seconds=second)
    return status(task_id, state, **{"created_at": at, "updated_at": at, "ordering_key": "k", **changes})


def holder(view: View, of: Status) -> str | None:
    with closing(connect(view.path, read_only=True)) as connection:
        found = read_holder(connection, of)
    return None if found is None else found.id


def test_it_is_the_one_that_runs_or_is_between_runs_else_the_one_before(view: View) -> None:
    first, second, third = (queued(name, at) for at, name in enumerate("abc"))
    others = [
        queued("d", -3, priority=Priority.HIGH),
        queued("e", -3, type="u"),
        status("f", created_at=NOW - timedelta(seconds=3), updated_at=NOW - timedelta(seconds=3), ordering_key="l"),
        status("g", created_at=NOW - timedelta(seconds=3), updated_at=NOW - timedelta(seconds=3)),
        queued("h", -3, state=State.SCHEDULED, not_before=NOW + timedelta(hours=1)),
    ]
    view.apply(third, first, second, *others)
    assert [holder(view, each) for each in (first, second, third)] == [None, "a", "b"]

    view.apply(queued("a", 0, state=State.RUNNING, attempt=1, started_at=NOW))
    assert [holder(view, each) for each in (second, third)] == ["a", "a"]
    view.apply(queued("a", 0, state=State.RETRYING, attempt=1, not_before=NOW + timedelta(hours=1)))
    assert [holder(view, each) for each in (second, third)] == ["a", "a"]

    view.apply(queued("a", 0, state=State.SUCCEEDED, attempt=2))
    assert [holder(view, each) for each in (second, third)] == [None, "b"]
    view.apply(queued("a", 0, state=State.RUNNING, attempt=1, started_at=NOW), queued("a", 0))  # late records
    assert [holder(view, each) for each in (second, third)] == [None, "b"]


def test_a_replayed_task_takes_a_turn_again(view: View) -> None:
    first, second = queued("a", 0), queued("b", 1)
    view.apply(first, queued("a", 0, State.DEAD_LETTERED, attempt=3), second)
    assert holder(view, second) is None
    again = queued("a", 0, generation=2, updated_at=NOW + timedelta(seconds=9))
    view.apply(again)
    assert [holder(view, second), holder(view, again)] == [None, "b"]
    view.apply(queued("a", 0, State.RUNNING, generation=2, attempt=1, started_at=NOW))
    assert holder(view, second) == "a"
    # Begun and ended within one transaction.
    third = queued("c", 2)
    view.apply(third, queued("c", 2, State.RUNNING, attempt=1), queued("c", 2, State.SUCCEEDED, attempt=1))
    view.apply(queued("a", 0, State.SUCCEEDED, generation=2, attempt=1))
    assert [holder(view, second), holder(view, queued("d", 3))] == [None, "b"]


def test_those_accepted_in_one_moment_wait_in_the_order_of_their_ids(view: View) -> None:
    batch = [queued(name, 0) for name in "abc"]
    view.apply(*batch)
    assert [holder(view, each) for each in batch] == [None, "a", "b"]


def test_only_unfinished_tasks_with_a_key_are_in_its_index(view: View) -> None:
    view.apply(
        *(status(f"plain{number}") for number in range(50)),
        *(queued(f"ended{number}", number, state=State.SUCCEEDED, attempt=1) for number in range(50)),
        *(queued(f"open{number}", number) for number in range(3)),
    )
    ((plan,),) = view.ask("SELECT sql FROM sqlite_master WHERE name = 'tasks_by_key'")
    assert "WHERE" in str(plan)
    with closing(connect(view.path)) as connection:
        connection.execute("ANALYZE")
        ((stat,),) = connection.execute("SELECT stat FROM sqlite_stat1 WHERE idx = 'tasks_by_key'").fetchall()
    assert str(stat).split()[0] == "3"
