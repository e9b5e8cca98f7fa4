"""`for outcome in results(…)`: begins where told, knows its lag, loses nothing to a rebalance."""

from collections import Counter
from collections.abc import Callable
from contextlib import closing

import pytest

from consumers.results import results
from schemas.outcome import Outcome
from schemas.settings import Settings
from schemas.topics import Topics, partition_of
from tests.support.sinks import TYPE, outcome, publish


@pytest.mark.timeout(45)
def test_a_plain_loop(settings: Settings, topics_applied: Callable[..., Topics]) -> None:
    group = f"{topics_applied(TYPE).prefix}ledger"
    published = [outcome(number) for number in range(200)]
    ids = [each.id for each in published]
    of_partition = Counter(partition_of(each, settings.kafka.partitions) for each in ids)
    publish(settings, published)

    # From offsets by partition: one outcome of the first, everything of those that are left out.
    start = {0: of_partition[0] - 1}
    there = [each.id for each in results(TYPE, group=None, settings=settings, start=start, follow=False)]
    assert len(there) == len(set(there)) == len(ids) - of_partition[0] + 1

    seen: list[Outcome] = []
    with results(TYPE, group=group, settings=settings, follow=False) as outcomes:
        assert (outcomes.position, outcomes.lag) == ({}, None)
        for each in outcomes:
            seen.append(each)
            if len(seen) == 50:
                break
        # The last one is done once the block ends.
        assert sum(outcomes.position.values()) == 49
        assert outcomes.lag in {None, 151}

    # Two members share what is left, the second comes while the first works: what was not committed may come again.
    first, second = (results(TYPE, group=group, settings=settings) for _ in range(2))
    with closing(iter(first)) as one, closing(iter(second)) as two:
        seen += [next(one) for _ in range(20)]
        publish(settings, more := [outcome(number) for number in range(200, 600)])
        seen += [next(two) for _ in range(20)]
        assert first.position.keys().isdisjoint(second.position)
    seen += results(TYPE, group=group, settings=settings, follow=False)
    assert {each.id for each in seen} == {each.id for each in [*published, *more]}


def test_an_object_is_looped_over_in_one_way(settings: Settings, topics_applied: Callable[..., Topics]) -> None:
    topics_applied(TYPE)
    outcomes = results(TYPE, group=None, settings=settings, follow=False)
    assert list(outcomes) == []
    with pytest.raises(RuntimeError, match="looped over by `for`"):
        aiter(outcomes)
    with pytest.raises(ValueError, match="zero or more"):
        results(TYPE, group=None, settings=settings, start={0: -1})
