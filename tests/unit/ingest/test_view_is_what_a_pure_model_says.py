"""Any order, repetition and lateness of the records of any worker gives the view that a model of three lines gives."""

from collections import Counter
from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.view.listing import Listing
from schemas.codec import decode
from schemas.status import RANK, State, Status, supersedes
from tests.support.views import NOW, View, status


def record(task: str, generation: int, attempt: int, deferrals: int, state: State, worker: str) -> Status:
    """One that its place in the task's life decides, but for the worker: as two would write it."""
    return status(
        task,
        state,
        generation=generation,
        attempt=attempt,
        deferrals=deferrals,
        worker=worker,
        labels={"generation": str(generation)},
        created_at=NOW + timedelta(seconds=generation),
        updated_at=NOW + timedelta(seconds=generation + attempt),
        started_at=NOW + timedelta(seconds=generation + attempt) if attempt else None,
    )


RECORDS = st.builds(
    record,
    st.sampled_from("abc"),
    st.integers(1, 3),
    st.integers(0, 3),
    st.integers(0, 1),
    st.sampled_from(State),
    st.sampled_from(("one", "other")),
)


@settings(deadline=None, max_examples=40)  # it writes files
@given(data=st.data(), life=st.lists(RECORDS, min_size=1, max_size=15))
def test_the_furthest_status_stays(
    data: st.DataObject, life: list[Status], tmp_path_factory: pytest.TempPathFactory
) -> None:
    # Every record at least once, some again, in any order, cut into transactions anywhere.
    again = data.draw(st.lists(st.sampled_from(life), max_size=10), label="again")
    coming = data.draw(st.permutations([*life, *again]), label="order")
    cuts = sorted(data.draw(st.sets(st.integers(0, len(coming))), label="cuts") | {0, len(coming)})

    model: dict[str, Status] = {}
    for each in coming:
        model[each.id] = each if supersedes(each, model.get(each.id)) else model[each.id]

    view = View(tmp_path_factory.mktemp("view"))
    for begin, end in pairwise(cuts):
        first = data.draw(st.sets(st.sampled_from("abc")), label="first")
        view.apply(*coming[begin:end], first=first, killed=data.draw(st.booleans(), label="killed"))
    assert view.all() == model
    last = {each.id: each for each in coming}
    assert {task for (task,) in view.ask("SELECT id FROM behind")} == {
        task for task, each in last.items() if supersedes(model[task], each)
    }
    furthest = {
        task: max((each.generation, each.attempt, each.deferrals, RANK[each.state]) for each in life if each.id == task)
        for task in model
    }
    assert {
        task: (each.generation, each.attempt, each.deferrals, RANK[each.state]) for task, each in model.items()
    } == furthest
    # And what is beside the tasks' own rows follows them.
    assert {(task, generation) for task, generation in view.ask("SELECT id, value FROM labels")} == {
        (task, str(each.generation)) for task, each in model.items()
    }
    assert counted(view) == Counter((each.type, each.priority.value, each.state.value) for each in model.values())
    # A tombstone takes its task away, with a status of another one in the same transaction or none; so does pruning.
    gone = data.draw(st.sets(st.sampled_from(sorted(model))), label="gone")
    state = data.draw(st.sampled_from(sorted({each.state for each in model.values()})), label="state")
    page = view.page(Listing(state=state))
    assert {decode(each, Status).id for each in page.documents} == {
        task for task, each in model.items() if each.state is state
    }
    view.apply(*(task.encode() for task in sorted(gone)), record("d", 1, 0, 0, State.QUEUED, "one"))
    left = {task: each for task, each in model.items() if task not in gone}
    assert counted(view) == Counter(
        [("t", "normal", "queued"), *((each.type, each.priority.value, each.state.value) for each in left.values())]
    )
    while view.store.prune(NOW + timedelta(days=1000)):
        pass
    assert counted(view) == Counter(
        [
            ("t", "normal", "queued"),
            *(("t", "normal", each.state.value) for each in left.values() if not each.state.final),
        ]
    )
    view.store.close()


def counted(view: View) -> Counter[tuple[str, str, str]]:
    """What the view says, by what an independent count of its rows says too."""
    rows = view.ask("SELECT type, priority, state, number FROM counts WHERE number <> 0")
    assert sorted(rows) == sorted(view.ask("SELECT type, priority, state, count(*) FROM tasks GROUP BY 1, 2, 3"))
    return Counter({(str(name), str(priority), str(state)): int(str(n)) for name, priority, state, n in rows})
