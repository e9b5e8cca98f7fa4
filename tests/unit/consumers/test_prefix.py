"""Nothing beyond the first open record is ever given back, and everything before it is."""

from hypothesis import given
from hypothesis import strategies as st

from consumers.prefix import Prefix


@given(offsets=st.sets(st.integers(0, 10_000), max_size=60).map(sorted), data=st.data())
def test_it_follows_the_first_open_record(offsets: list[int], data: st.DataObject) -> None:
    prefix: Prefix[str] = Prefix()
    undelivered, open_, done = list(offsets), set[int](), set[int]()
    given_back: str | None = None
    while undelivered or open_:
        if undelivered and (not open_ or data.draw(st.booleans(), label="deliver")):
            assert prefix.deliver(undelivered[0], f"record {undelivered[0]}")
            open_.add(undelivered.pop(0))
            continue
        if data.draw(st.booleans(), label="again"):
            # What a client delivers again says nothing of the first one.
            before = len(prefix)
            assert not prefix.deliver(data.draw(st.sampled_from(sorted(open_ | done))), "again")
            assert len(prefix) == before
        offset = data.draw(st.sampled_from(sorted(open_)), label="done")
        open_.discard(offset)
        done.add(offset)
        newest = prefix.done(offset)
        free = [each for each in sorted(done) if all(each < still for still in open_)]
        expected = f"record {free[-1]}" if free else None
        # It is told once: when it becomes true.
        assert newest == (expected if expected != given_back else None)
        given_back = expected
        assert len(prefix) == len([each for each in done | open_ if not free or each > free[-1]])
    assert len(prefix) == 0
