"""A chart's lines have their values' heights, with gaps where nothing is known."""

from datetime import UTC, datetime, timedelta

import pytest

from ingest.dashboard.charts import Series, chart, nice

FIRST = datetime(2026, 1, 31, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@pytest.mark.parametrize(
    ("value", "top"), [(0, 1), (0.3, 0.5), (1, 1), (1.01, 2), (4.2, 5), (5, 5), (60, 100), (1234, 2000)]
)
def test_the_top_is_a_round_number(value: float, top: float) -> None:
    assert nice(value) == pytest.approx(top)


def test_lines_have_the_heights_of_their_values() -> None:
    drawn = chart([Series("done", "succeeded", [0, 5, None, 10])], FIRST, MINUTE)
    assert drawn.top == 10
    assert drawn.lines[0].path == "M125.0 100.0L375.0 50.0M875.0 0.0"
    assert drawn.lines[0].latest == 10
    assert drawn.slots[1].at == FIRST + MINUTE
    assert drawn.slots[1].values == [("done", "succeeded", 5)]
    assert (drawn.labels[0], drawn.labels[-1]) == (FIRST, FIRST + 3 * MINUTE)


def test_nothing_at_all_is_still_a_chart() -> None:
    assert chart([], FIRST, MINUTE).empty
    assert chart([Series("done", "succeeded", [0, None])], FIRST, MINUTE).empty
