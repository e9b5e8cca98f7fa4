"""What may be committed never passes an open record, whatever order records finish in."""

from hypothesis import given
from hypothesis import strategies as st

from streams.tracker import OffsetTracker


@given(st.lists(st.integers(0, 200), min_size=1, unique=True).map(sorted), st.randoms(use_true_random=False))
def test_the_committable_offset_is_the_first_open_one(offsets: list[int], random: "st.DataObject") -> None:
    tracker = OffsetTracker()
    for offset in offsets:
        assert tracker.deliver(offset)
    unfinished = list(offsets)
    order = list(offsets)
    random.shuffle(order)  # type: ignore[attr-defined]  # it is a random.Random
    for offset in order:
        tracker.done(offset)
        unfinished.remove(offset)
        assert tracker.committable == (min(unfinished) if unfinished else offsets[-1] + 1)
    assert len(tracker) == 0


def test_nothing_is_committable_before_the_first_delivery() -> None:
    assert OffsetTracker().committable is None


def test_a_gap_holds_nothing_back() -> None:
    tracker = OffsetTracker()
    for offset in (3, 9, 1_000_000):
        tracker.deliver(offset)
        tracker.done(offset)
    assert tracker.committable == 1_000_001


def test_a_record_is_taken_once() -> None:
    tracker = OffsetTracker()
    assert tracker.deliver(5)
    assert not tracker.deliver(5)
    assert not tracker.deliver(4)
    assert tracker.deliver(6)


@given(st.lists(st.booleans(), min_size=1, max_size=60))
def test_a_successor_reads_every_outcome_beyond_the_commit(finished: list[bool]) -> None:
    tracker = OffsetTracker()
    for offset, _ in enumerate(finished):
        tracker.deliver(offset)
    newest = None
    published: dict[int, int] = {}
    for marker, (offset, done) in enumerate(reversed(list(enumerate(finished))), start=100):
        if done:
            published[offset] = newest = marker
            tracker.done(offset, marker)
    committed = tracker.committable or 0
    beyond = [marker for offset, marker in published.items() if offset >= committed]
    start = tracker.first_marker(newest)
    assert start is None if newest is None else start is not None
    assert start is None or all(start <= marker for marker in beyond)
