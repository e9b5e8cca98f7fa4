"""The view holds, for each task, the status that is furthest ahead, whatever order records come in."""

import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.view import schema
from ingest.view.listing import Listing, read_page
from ingest.view.schema import RETENTION_DAYS, connect
from ingest.view.store import KEPT_CHANGES, TOLD_CHANGES, StatusRecord, ViewStore, _step
from schemas.codec import decode, encode
from schemas.status import ErrorInfo, State, Status, supersedes
from tests.support.views import NOW, View, status

PARTITIONS = 1

STATUSES = st.builds(
    lambda generation, attempt, deferrals, state, began, updated: status(
        state=state,
        generation=generation,
        attempt=attempt,
        deferrals=deferrals,
        started_at=None if began is None else NOW + timedelta(seconds=began),
        updated_at=NOW + timedelta(seconds=updated),
    ),
    st.integers(1, 2),
    st.integers(0, 2),
    st.integers(0, 1),
    st.sampled_from(State),
    st.none() | st.integers(0, 2),
    st.integers(0, 2),
)


@given(new=STATUSES, old=STATUSES)
def test_a_step_is_greater_exactly_when_the_status_is_ahead(new: Status, old: Status) -> None:
    assert (_step(new) > _step(old)) == supersedes(new, old)


@settings(deadline=None)  # it writes files
@given(statuses=st.lists(STATUSES, min_size=1, max_size=6), together=st.booleans())
def test_what_is_furthest_ahead_stays(
    statuses: list[Status], together: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    view = View(tmp_path_factory.mktemp("view"))
    ahead: Status | None = None
    for each in statuses:
        ahead = each if supersedes(each, ahead) else ahead
    if together:
        view.apply(*statuses)
    else:
        for each in statuses:
            view.apply(each)
    assert view.find() == ahead
    view.store.close()


def test_labels_follow_the_generation(tmp_path: Path) -> None:
    view = View(tmp_path)
    view.apply(status(labels={"tenant": "acme"}), status("b", labels={"tenant": "acme"}))
    later = NOW + timedelta(hours=1)
    view.apply(status(labels={"tenant": "other"}, generation=2, created_at=later))
    assert view.ask("SELECT value, id FROM labels ORDER BY id") == [("other", "a"), ("acme", "b")]
    assert view.ask("SELECT count(*) FROM tasks") == [(2,)]
    found = view.find()
    assert found is not None
    assert (found.generation, found.created_at) == (2, later)
    view.apply(status(labels={"tenant": "acme"}, state=State.SUCCEEDED, attempt=3))  # late, of the first generation
    assert view.find() == found


def test_a_tombstone_removes_and_what_comes_after_it_is_new(tmp_path: Path) -> None:
    view = View(tmp_path)
    view.apply(status(state=State.SUCCEEDED, attempt=1, labels={"x": "y"}))
    view.apply(b"a")
    assert view.find() is None
    assert view.ask("SELECT * FROM labels") == []
    view.apply(status(state=State.SUCCEEDED, attempt=1), b"a", status())
    assert view.find() == status()


def test_what_ended_before_the_retention_is_not_taken_unless_it_is_known(tmp_path: Path) -> None:
    view = View(tmp_path)
    long_ago = NOW - timedelta(days=RETENTION_DAYS + 1)
    view.apply(status("a", State.SUCCEEDED, attempt=1, updated_at=long_ago, created_at=long_ago), status("b"))
    view.apply(status("b", State.SUCCEEDED, attempt=1, updated_at=long_ago))
    known = view.find("b")
    assert view.find("a") is None
    assert known is not None
    assert known.state is State.SUCCEEDED


def test_what_was_replayed_is_kept_as_long_as_dead_letters(tmp_path: Path) -> None:
    view = View(tmp_path)
    ended = NOW - timedelta(days=RETENTION_DAYS + 1)
    view.apply(
        status("a", attempt=1, updated_at=ended, created_at=ended),
        status("b", attempt=1, generation=2, updated_at=ended, created_at=ended),
    )
    view.apply(
        status("a", State.SUCCEEDED, attempt=1, updated_at=ended, created_at=ended),
        status("b", State.SUCCEEDED, attempt=1, generation=2, updated_at=ended, created_at=ended),
        status("c", State.SUCCEEDED, attempt=1, generation=2, updated_at=ended, created_at=ended),
    )
    view.store.prune(NOW)
    assert view.ask("SELECT id FROM tasks ORDER BY id") == [("b",), ("c",)]
    view.store.prune(NOW + timedelta(days=30))
    assert view.ask("SELECT id FROM tasks") == []


def test_text_is_found_in_type_error_and_labels(tmp_path: Path) -> None:
    view = View(tmp_path)
    failed = ErrorInfo(type="SMTPDataError", message="Mailbox FULL", retriable=True)
    view.apply(status("a"), status("b", error=failed), status("c", labels={"Tenant": "Acme"}))
    with closing(connect(view.path, read_only=True)) as connection:
        for text, ids in (("mailbox full", "b"), ("ACME", "c"), ("t", "abc"), ("nowhere", "")):
            page = read_page(connection, Listing(q=text))
            assert "".join(sorted(decode(each, Status).id for each in page.documents)) == ids, text


def test_a_number_out_of_bounds_is_skipped_and_the_rest_applied(tmp_path: Path) -> None:
    view = View(tmp_path)
    view.apply(status("a", attempt=2**40), status("b", generation=-1), status("c"))
    assert view.ask("SELECT id FROM tasks") == [("c",)]
    assert view.store.positions() == {0: 3}


def test_changes_are_told_by_transaction_and_dropped_in_time(tmp_path: Path) -> None:
    view = View(tmp_path)
    view.apply(status("a"), status("b"))
    assert set(str(view.ask("SELECT ids FROM changes")[0][0]).split("\n")) == {"a", "b"}
    view.apply(*(status(f"many-{each}") for each in range(TOLD_CHANGES + 1)))
    assert view.ask("SELECT ids FROM changes ORDER BY seq DESC LIMIT 1") == [(None,)]
    for each in range(KEPT_CHANGES):
        view.apply(status(f"one-{each}"))
    assert view.ask("SELECT count(*) FROM changes") == [(KEPT_CHANGES,)]


def test_a_failed_transaction_leaves_everything_as_it_was(tmp_path: Path) -> None:
    view = View(tmp_path)
    view.apply(status())
    with closing(sqlite3.connect(view.path)) as other:
        other.execute("CREATE TRIGGER no BEFORE INSERT ON changes BEGIN SELECT RAISE(ABORT, 'no'); END")
    with pytest.raises(sqlite3.IntegrityError):
        view.apply(status("b"))
    assert view.find("b") is None
    assert view.store.positions() == {0: 1}


@pytest.mark.parametrize(("in_order", "kept"), [(True, True), (False, False)], ids=["closed in order", "cut off"])
def test_a_file_from_before_the_machine_went_down_is_built_anew_unless_it_was_closed_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, in_order: bool, kept: bool
) -> None:
    view = View(tmp_path)
    view.apply(status())
    if in_order:
        view.store.close()
    monkeypatch.setattr(schema, "boot_id", lambda: "the next start")
    assert ViewStore(view.path, "cluster/topic", PARTITIONS).positions() == ({0: 1} if kept else {})


def test_a_file_whose_process_was_killed_is_gone_on_with(tmp_path: Path) -> None:
    view = View(tmp_path)
    view.apply(status())
    assert ViewStore(view.path, "cluster/topic", PARTITIONS).positions() == {0: 1}


def test_a_file_that_a_reader_kept_from_the_disk_is_not_taken_for_closed_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = View(tmp_path)
    view.apply(status())
    with closing(connect(view.path, read_only=True)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM tasks").fetchone()
        view.apply(status("b"))
        view.store.close()
    monkeypatch.setattr(schema, "boot_id", lambda: "the next start")
    assert ViewStore(view.path, "cluster/topic", PARTITIONS).positions() == {}


def test_a_claim_is_no_task_and_the_first_one_counts(tmp_path: Path) -> None:
    view = View(tmp_path)
    view.apply(status(claim="first"))
    view.apply(status(claim="second", state=State.SCHEDULED), status(task_id="b", claim="third"))
    assert view.find() is None
    assert _claims(view) == {"a": "first", "b": "third"}
    view.apply(status(state=State.SCHEDULED))
    found = view.find()
    assert found is not None
    assert found.state is State.SCHEDULED


def test_a_claim_behind_a_status_is_mended(tmp_path: Path) -> None:
    view = View(tmp_path)
    view.apply(status(claim="first"), status())
    assert not view.store.behind
    view.apply(status(claim="late"))
    assert view.store.behind == {"a": 0}
    view.apply(status())
    assert not view.store.behind


def test_a_claim_elsewhere_hides_no_status_that_lies_behind(tmp_path: Path) -> None:
    view = View(tmp_path)
    late = status(ordering_key="k")
    records = [
        StatusRecord(0, 0, b"a", encode(status(state=State.SUCCEEDED, ordering_key="k"))),
        StatusRecord(0, 1, b"a", encode(late)),
        StatusRecord(1, 0, b"a", encode(status(ordering_key="k", claim="in the partition of its id"))),
    ]
    view.store.apply("status", records, {0: 2, 1: 1})
    assert view.store.behind == {"a": 0}


def test_a_claim_beside_it_hides_no_status_that_lies_behind(tmp_path: Path) -> None:
    view = View(tmp_path)
    view.apply(status(state=State.SUCCEEDED))
    view.apply(status(), status(task_id="b", claim="of another task, in the same transaction"))
    assert view.store.behind == {"a": 0}


def test_claims_are_forgotten_with_their_statuses_or_when_they_are_old(tmp_path: Path) -> None:
    view = View(tmp_path)
    long_ago = NOW - timedelta(days=RETENTION_DAYS + 1)
    view.apply(status(claim="has a status"), status(), status(task_id="b", claim="open"))
    view.apply(status(task_id="c", claim="old", created_at=long_ago))
    assert set(_claims(view)) == {"a", "b"}
    view.store.prune(NOW)
    assert set(_claims(view)) == {"b"}
    view.store.prune(NOW + timedelta(days=RETENTION_DAYS + 1))
    assert not _claims(view)


def _claims(view: View) -> dict[object, object]:
    return {task_id: decode(found, Status).claim for task_id, found in view.ask("SELECT id, document FROM claims")}  # type: ignore[arg-type]
